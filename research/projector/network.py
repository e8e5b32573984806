"""The projector: a network from a reader's shares of the prompts to one soft prompt, and its file."""

import json
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from slop.basis import Basis
from slop.soft_prompts import checked

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

ABOUT: Final = "projector"


class InvalidProjector(ValueError):  # noqa: N818
    """A projector file that is missing, broken, or of another basis."""


def within(rows: Tensor, norms: tuple[float, float]) -> Tensor:
    """(..., d) rows brought to the nearest norm of a range; differentiable."""
    length: Tensor = rows.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    return rows * (length.clamp(*norms) / length)


class Projector(nn.Module):
    """f(w) = within(sum_k w_k P_k + B gelu(A w + a) + b); `within` clips the norms of rows to the basis' range.

    w is (K,), the reader's shares; P_k is (k, d); A is (r, K) and a (r,), for `rank` r; B is (k d, r) and b (k d,), and
    their result is reshaped to (k, d). B and b begin at zero, and so f(w) as the weighted average of the prompts.

    Attributes:
        prompts: (K, k, d), the P_k.
        about: facts on its training, kept in the file.
    """

    prompts: Tensor

    def __init__(self, basis: Basis, rank: int, seed: int = 0) -> None:
        super().__init__()
        self._basis = basis
        self._norms = basis.norm_range
        self.about: dict[str, Any] = {}
        self.register_buffer("prompts", torch.from_numpy(basis.prompts), persistent=False)
        self.inner, self.outer = nn.Linear(basis.size, rank), nn.Linear(rank, basis.prompts[0].size)
        with torch.no_grad():
            self.inner.weight.normal_(generator=torch.Generator().manual_seed(seed))
            for parameter in (self.inner.bias, self.outer.weight, self.outer.bias):
                parameter.zero_()

    def forward(self, shares: Tensor) -> Tensor:
        """(M, K) shares, each row summing to 1, to (M, k, d) soft prompts."""
        average = torch.einsum("mk,krd->mrd", shares, self.prompts)
        residual = self.outer(nn.functional.gelu(self.inner(shares)))
        prompts: Tensor = within(average + residual.view_as(average), self._norms)
        return prompts

    @torch.inference_mode()
    def prompt(self, shares: Doubles) -> Floats:
        """A reader's soft prompt, (k, d), from the (K,) shares of the prompts.

        Raises:
            slop.soft_prompts.UnsafeSoftPrompt: it must not reach the engine.
        """
        row = torch.from_numpy(shares).float().to(self.prompts.device)
        half = self(row[None])[0].half().float()  # as precise as the basis' own prompts
        return checked(half.cpu().numpy(), self._basis)

    def save(self, path: Path) -> None:
        """Write a safetensors file with the residual's parameters, the basis' version and `about`."""
        said = {ABOUT: json.dumps([self._basis.text_version, self.about])}  # one entry, since their order is random
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        save_file({name: tensor.cpu().contiguous() for name, tensor in self.state_dict().items()}, unfinished, said)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path, basis: Basis) -> Self:
        """Read a projector of a basis, onto the CPU.

        Raises:
            InvalidProjector: the file is missing or broken, of another basis, or its values are not finite.
        """
        try:
            with safe_open(path, framework="pt") as file:
                of, about = json.loads(file.metadata()[ABOUT])
            tensors = load_file(path)
            projector = cls(basis, tensors["inner.bias"].numel())
            projector.load_state_dict(tensors)
            projector.about = about
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InvalidProjector(f"no usable projector in {path}: {error}") from error
        if of != basis.text_version:
            raise InvalidProjector(f"{path} is a projector of basis {of}, not of {basis.text_version}")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise InvalidProjector(f"{path} has values that are not finite")
        return projector
