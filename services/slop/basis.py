"""The basis: the versioned artifact that turns a reader's weights into one of K soft prompts."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

FORMAT: Final = 1
NORM_TOLERANCE: Final = 1.01


class InvalidBasis(ValueError):  # noqa: N818
    """A basis folder that is missing, broken, or not finite."""


def responsibilities(log_likelihoods: npt.ArrayLike, temperature: float) -> Doubles:
    """How much each prompt has to do with a post: r_k = softmax_k(log p(y | P_k) / temperature).

    Args:
        log_likelihoods: (..., K), in nats.
        temperature: > 0.

    Returns:
        (..., K) float64, which sums to 1 over the prompts.
    """
    logits = np.asarray(log_likelihoods, dtype=np.float64) / temperature
    odds: Doubles = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Doubles = odds / odds.sum(axis=-1, keepdims=True)
    return shares


@dataclass(frozen=True, slots=True)
class Template:
    """What surrounds the soft prompt: it is the whole system message, before the user's.

    Attributes:
        request: the user's message when the caller gives none.
        plain_system: the system message where there is no soft prompt.
    """

    request: str = "Write a short post."
    plain_system: str = "You write short posts for a social feed."


@dataclass(frozen=True, slots=True)
class Basis:
    """K soft prompts for a frozen model, and the map from a post's likelihoods under them to its features.

    Attributes:
        model: name of the base model that the prompts were trained on.
        revision: hash of the base model's weights and tokenizer.
        prompts: (K, k, d) float32, the rows being virtual tokens.
        center: (K,) float32, mean responsibilities over the catalogue.
        scale: what centred responsibilities are divided by, so that their mean norm is 1.
        temperature: of the responsibilities.
        crowd: (K,) float32, the crowd's direction c: the prior mean of every reader.
        words: for every prompt the words that describe its cluster, most typical first.
        norm_range: smallest and largest row norm seen in training; the trust region.
        built: how it was built, for people.
    """

    model: str
    revision: str
    prompts: Floats
    center: Floats
    scale: float
    temperature: float
    crowd: Floats
    words: tuple[tuple[str, ...], ...]
    norm_range: tuple[float, float]
    template: Template = field(default_factory=Template)
    built: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes and values.

        Raises:
            InvalidBasis: a shape does not fit, or a value is not finite.
        """
        shape_fits = self.prompts.ndim == 3 and self.center.shape == self.crowd.shape == (self.size,)  # noqa: PLR2004
        if not shape_fits or len(self.words) != self.size:
            raise InvalidBasis(f"shapes do not fit: {self.prompts.shape} {self.center.shape} {self.crowd.shape}")
        arrays = (self.prompts, self.center, self.crowd, np.array([self.scale, self.temperature]))
        if not all(np.isfinite(array).all() for array in arrays) or min(self.scale, self.temperature) <= 0:
            raise InvalidBasis("values that are not finite")

    @property
    def size(self) -> int:
        """K, the number of soft prompts."""
        return int(self.prompts.shape[0])

    @property
    def dimensions(self) -> int:
        """K + 1: the weights over the prompts and the reader's own bias."""
        return self.size + 1

    @property
    def version(self) -> str:
        """Twelve hex digits that change with anything that features or latents depend on."""
        digest = hashlib.sha256()
        for array in (self.prompts.astype(np.float16), self.center, self.crowd):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(json.dumps([self.revision, self.scale, self.temperature, asdict(self.template)]).encode())
        return digest.hexdigest()[:12]

    def features(self, log_likelihoods: npt.ArrayLike) -> Floats:
        """Features of posts from their log-likelihoods: centred, scaled responsibilities (DESIGN section 4).

        Args:
            log_likelihoods: (..., K), log p(y | P_k) summed over the post's tokens.

        Returns:
            (..., K) float32.
        """
        shares = responsibilities(log_likelihoods, self.temperature)
        features: Floats = ((shares - self.center) / self.scale).astype(np.float32)
        return features

    def save(self, folder: Path) -> None:
        """Write basis.safetensors and basis.json."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, npt.NDArray[Any]] = {
            "prompts": self.prompts.astype(np.float16),
            "center": self.center,
            "crowd": self.crowd,
        }
        save_file(tensors, folder / "basis.safetensors")
        about = {
            "format": FORMAT,
            "version": self.version,
            "model": self.model,
            "revision": self.revision,
            "template": asdict(self.template),
            "scale": self.scale,
            "temperature": self.temperature,
            "norm_range": self.norm_range,
            "words": self.words,
            "built": self.built,
        }
        (folder / "basis.json").write_text(json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a basis.

        Raises:
            InvalidBasis: a file is missing or broken, or values are not usable.
        """
        try:
            about = json.loads((folder / "basis.json").read_text())
            tensors = load_file(folder / "basis.safetensors")
            basis = cls(
                model=about["model"],
                revision=about["revision"],
                prompts=tensors["prompts"].astype(np.float32),
                center=tensors["center"],
                scale=about["scale"],
                temperature=about["temperature"],
                crowd=tensors["crowd"],
                words=tuple(tuple(words) for words in about["words"]),
                norm_range=(about["norm_range"][0], about["norm_range"][1]),
                template=Template(**about["template"]),
                built=about["built"],
            )
        except InvalidBasis:
            raise
        except Exception as error:
            raise InvalidBasis(f"no usable basis in {folder}: {error}; build one with 'make basis'") from error
        if basis.version != about["version"]:
            raise InvalidBasis(f"{folder}: basis.json says version {about['version']}, the content is {basis.version}")
        return basis
