"""What many readers' reactions tell of posts: factors that rank them, known posts by their own, others by their text.

Probabilistic matrix factorisation (Salakhutdinov and Mnih 2008) whose post factors are pulled towards a regression on
the post's text (Agarwal and Chen 2009, "Regression-based latent factor models"), so that a post that nobody has reacted
to has factors too. `training.factors` fits them.
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
CROWD_FACTOR_VARIANCE: Final = 0.05  # a reader's weight for the crowd's liking starts at 1 and stays near


class InvalidFactors(ValueError):  # noqa: N818
    """Factors whose files are missing or broken, or whose values are not finite."""


@dataclass(frozen=True)
class Factors:
    """The factors of posts: M that readers differ in, and last how much the crowd likes a post.

    They are scaled for a logistic model of a graded label with a standard normal prior over a reader's M weights.

    Attributes:
        posts: keys of the known posts (see `slop.redis.posts.PostRef.key`), in the order of `known`.
        known: (N, M + 1) float32.
        text_map: (T, M + 1) float32, what a post's T text features add up to where nothing else is known.
        offset: (M + 1,) float32.
        text_share: how much a post's text features count beside its factors when posts are ranked, >= 0.
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
        """M + 1."""
        return int(self.offset.size)

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        return {post: row for row, post in enumerate(self.posts)}

    def of_text(self, text_features: Floats) -> Floats:
        """Factors by text alone: (..., T) to (..., M + 1) float32."""
        factors: Floats = (self.offset + text_features @ self.text_map).astype(np.float32)
        return factors

    def of_post(self, post: str | None, text_features: Floats) -> Floats:
        """Factors of one post, (M + 1,) float32, by its text if its key is not known."""
        row = None if post is None else self._rows.get(post)
        return self.of_text(text_features) if row is None else self.known[row]

    def update_digest(self, digest: Any) -> None:
        """Add everything that features depend on to a hash."""
        for array in (self.known, self.text_map, self.offset):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(json.dumps([self.posts, self.text_share]).encode())

    def save(self, folder: Path) -> None:
        """Write factors.safetensors and factors.json."""
        tensors = {"known": self.known, "text_map": self.text_map, "offset": self.offset}
        save_file(tensors, folder / FACTORS_FILE)
        about = {"text_share": self.text_share, "posts": self.posts}
        (folder / POSTS_FILE).write_text(json.dumps(about) + "\n")

    @staticmethod
    def remove(folder: Path) -> None:
        """Delete the factors of a basis that is written anew."""
        for name in (FACTORS_FILE, POSTS_FILE):
            (folder / name).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read factors; None where a basis has none.

        Raises:
            InvalidFactors: values that are not usable.
        """
        if not (folder / FACTORS_FILE).exists():
            return None
        tensors = load_file(folder / FACTORS_FILE)
        about = json.loads((folder / POSTS_FILE).read_text())
        posts = tuple(about["posts"])
        return cls(posts, tensors["known"], tensors["text_map"], tensors["offset"], about["text_share"])
