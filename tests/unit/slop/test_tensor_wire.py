import base64
import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slop.tensor_wire import torch_base64, torch_bytes

torch = pytest.importorskip("torch")

ARRAYS = hnp.arrays(
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
)


def loaded(data: bytes) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = torch.load(io.BytesIO(data), weights_only=True).numpy()
    return array


@settings(max_examples=60)
@given(ARRAYS)
def test_torch_reads_back_every_bit(array: npt.NDArray[np.float32]) -> None:
    back = loaded(torch_bytes(array))
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


def test_a_transposed_view_is_written_in_its_own_order() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(loaded(torch_bytes(array)), array)


def test_a_big_endian_array_keeps_its_values() -> None:
    array = np.arange(5, dtype=">f4")
    np.testing.assert_array_equal(loaded(torch_bytes(array)), array)


def test_equal_arrays_give_equal_bytes() -> None:
    array = np.linspace(0, 1, 7, dtype=np.float32)
    assert torch_bytes(array) == torch_bytes(array.copy())


def test_base64_is_of_the_same_bytes() -> None:
    array = np.ones((13, 576), np.float32)
    assert base64.b64decode(torch_base64(array), validate=True) == torch_bytes(array)


def test_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="int64"):
        torch_bytes(np.arange(3))  # type: ignore[arg-type]
