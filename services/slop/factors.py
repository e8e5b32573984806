"""Factors: features of posts that come from many readers' reactions, for ranking.

The model is probabilistic matrix factorisation (Salakhutdinov and Mnih 2008, "Probabilistic matrix factorization"), in
which the prior mean of a post's factors is a linear regression on its text features (Agarwal and Chen 2009,
"Regression-based latent factor models"). A post that had reactions has factors of its own; any other post has those of
the regression. `training.factors` fits both.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

Floats = npt.NDArray[np.float32]

FACTORS_FILE: Final = "factors.safetensors"
POSTS_FILE: Final = "factors.json"
# Prior variance of a reader's weight on the crowd factor. It is small, so that the weight stays near its prior mean 1.
CROWD_FACTOR_VARIANCE: Final = 0.05


class InvalidFactors(ValueError):  # noqa: N818
    """Factors whose shapes do not fit, or whose values are not finite."""


@dataclass(frozen=True)
class Factors:
    """The M + 1 factors of posts: M that readers' weights differ in, then the crowd factor.

    They are scaled for the logistic model of `slop.latent`, in which a reader's weights on the first M have a standard
    normal prior.

    Attributes:
        posts: keys of the N known posts (`slop.redis.posts.PostRef.key`).
        known: (N, M + 1) float32, their factors, in the order of `posts`.
        text_map: (T, M + 1) float32, the slopes of the regression on a post's T text features.
        offset: (M + 1,) float32, its intercepts.
        text_share: what the text features' part of a post's score is multiplied with when posts are ranked, >= 0.
    """

    posts: tuple[str, ...]
    known: Floats
    text_map: Floats
    offset: Floats
    text_share: float = 0.0

    def __post_init__(self) -> None:
        """Check shapes and values.

        Raises:
            InvalidFactors: a shape does not fit, or a value is not finite.
        """
        width = self.offset.shape
        if self.known.shape != (len(self.posts), *width) or self.text_map.shape[1:] != width:
            raise InvalidFactors(f"shapes do not fit: {self.known.shape} {self.text_map.shape} {width}")
        values = (self.known, self.text_map, self.offset, np.array(self.text_share))
        if not all(np.isfinite(array).all() for array in values):
            raise InvalidFactors("values that are not finite")

    @property
    def size(self) -> int:
        """M + 1, the number of a post's factors."""
        return int(self.offset.size)

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        return {post: row for row, post in enumerate(self.posts)}

    def of_text(self, text_features: Floats) -> Floats:
        """Factors of unknown posts, offset + text_features @ text_map: (..., T) to (..., M + 1) float32."""
        factors: Floats = (self.offset + text_features @ self.text_map).astype(np.float32)
        return factors

    def of_post(self, post: str | None, text_features: Floats) -> Floats:
        """Factors of one post, (M + 1,) float32: its own if its key is known, else those of its (T,) text features."""
        row = None if post is None else self._rows.get(post)
        return self.of_text(text_features) if row is None else self.known[row]

    def update_digest(self, digest: Any) -> None:
        """Feed all that features depend on into a hash of hashlib."""
        for array in (self.known, self.text_map, self.offset):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(json.dumps([self.posts, self.text_share]).encode())

    def save(self, folder: Path) -> None:
        """Write factors.safetensors and factors.json into the folder of a basis."""
        tensors = {"known": self.known, "text_map": self.text_map, "offset": self.offset}
        save_file(tensors, folder / FACTORS_FILE)
        about = {"text_share": self.text_share, "posts": self.posts}
        (folder / POSTS_FILE).write_text(json.dumps(about) + "\n")

    @staticmethod
    def remove(folder: Path) -> None:
        """Delete the files of factors, if there are any."""
        for name in (FACTORS_FILE, POSTS_FILE):
            (folder / name).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read the factors of the basis in a folder; None if it has none.

        Raises:
            InvalidFactors: shapes that do not fit, or values that are not finite.
        """
        if not (folder / FACTORS_FILE).exists():
            return None
        tensors = load_file(folder / FACTORS_FILE)
        about = json.loads((folder / POSTS_FILE).read_text())
        posts = tuple(about["posts"])
        return cls(posts, tensors["known"], tensors["text_map"], tensors["offset"], about["text_share"])
