"""NumPy arrays as files of `torch.save`, written without torch.

vLLM takes prompt embeddings as base64 of such a file, which it reads by `torch.load(weights_only=True)`. The file is a
zip archive with a pickle, which describes the tensor and names a storage, and with the storage's raw bytes.
"""

import base64
import io
import pickle
import zipfile
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_STORAGES: Final = {"float16": "HalfStorage", "float32": "FloatStorage", "float64": "DoubleStorage"}


def torch_bytes(array: npt.NDArray[np.floating[Any]]) -> bytes:
    """A file that `torch.load` reads as the tensor `torch.from_numpy(array)`.

    Args:
        array: float16, float32 or float64, of any shape.

    Raises:
        ValueError: the array has another dtype.
    """
    if array.dtype.name not in _STORAGES:
        raise ValueError(f"dtype {array.dtype} where one of {', '.join(_STORAGES)} is needed")
    records = {
        "data.pkl": _pickled(array),
        "byteorder": b"little",
        "data/0": array.astype(array.dtype.newbyteorder("<")).tobytes(),
        "version": b"3\n",
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)  # no time stamp: equal arrays, equal bytes
    return file.getvalue()


def torch_base64(array: npt.NDArray[np.floating[Any]]) -> str:
    """`torch_bytes` as base64 text."""
    return base64.b64encode(torch_bytes(array)).decode("ascii")


def _pickled(array: npt.NDArray[np.floating[Any]]) -> bytes:
    """A pickle that calls torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)."""
    strides = (step // array.itemsize for step in np.empty(array.shape, array.dtype).strides)
    storage = (
        _text("storage")
        + _global("torch", _STORAGES[array.dtype.name])
        + _text("0")
        + _text("cpu")
        + _integer(array.size)
    )
    arguments = (
        _tuple(storage)
        + pickle.BINPERSID
        + _integer(0)
        + _tuple(b"".join(map(_integer, array.shape)))
        + _tuple(b"".join(map(_integer, strides)))
        + pickle.NEWFALSE
        + _global("collections", "OrderedDict")
        + pickle.EMPTY_TUPLE
        + pickle.REDUCE
    )
    call = _global("torch._utils", "_rebuild_tensor_v2") + _tuple(arguments) + pickle.REDUCE
    return pickle.PROTO + b"\x02" + call + pickle.STOP


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    return pickle.BINUNICODE + len(value.encode()).to_bytes(4, "little") + value.encode()


def _integer(value: int) -> bytes:
    return pickle.LONG1 + b"\x08" + value.to_bytes(8, "little", signed=True)


def _tuple(items: bytes) -> bytes:
    return pickle.MARK + items + pickle.TUPLE
