"""Style × subject prompts: a basis of S style prompts and J subject prompts, which are used in pairs.

A style's virtual tokens followed by a subject's are the soft prompt of a post that has both. They are trained together
(`training.basis.style_subject`) and lie in the folder of the `slop.basis.Basis` that they go with.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import structlog
from safetensors.numpy import load_file, save_file

from slop.basis import NORM_TOLERANCE, Basis, InvalidBasis, Template

Floats = npt.NDArray[np.float32]
Words = tuple[tuple[str, ...], ...]

FORMAT: Final = 1
TENSORS_FILE: Final = "factored.safetensors"
ABOUT_FILE: Final = "factored.json"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StyleSubjectBasis:
    """S style prompts and J subject prompts for a frozen language model.

    Attributes:
        model: name of the base model that the prompts were trained for.
        revision: hash of the base model's weights and tokenizer.
        styles: (S, a, d) float32: S prompts of a virtual tokens, in the d dimensions of the model's token embeddings.
        subjects: (J, b, d) float32: J prompts of b virtual tokens.
        style_words: for each style the words that describe its cluster, most typical first.
        subject_words: likewise for each subject.
        norm_range: smallest and largest Euclidean norm of a row in training: the trust region.
        template: the messages that the prompts were trained with.
        built: how it was built, for people.
        mixture: `prompts_version` of the basis whose K prompts `of_prompts` describes; empty without `of_prompts`.
        of_prompts: (K, S, J) float32, where the posts of each prompt's cluster are: the entry [k, s, j] is the share
            of cluster k's posts with style s and subject j, and each [k] sums to 1. None if it is not known.
    """

    model: str
    revision: str
    styles: Floats
    subjects: Floats
    style_words: Words
    subject_words: Words
    norm_range: tuple[float, float]
    template: Template = field(default_factory=Template)
    built: dict[str, Any] = field(default_factory=dict)
    mixture: str = ""
    of_prompts: Floats | None = None

    def __post_init__(self) -> None:
        """Check shapes and values.

        Raises:
            InvalidBasis: a shape does not fit, shares do not sum to 1, or a row is not finite or outside the trust
                region.
        """
        sets = (self.styles, self.subjects)
        counts = (len(self.style_words), len(self.subject_words))
        flat = any(prompts.ndim != 3 for prompts in sets)  # noqa: PLR2004
        if flat or counts != self.size or self.styles.shape[2] != self.subjects.shape[2]:
            raise InvalidBasis(f"shapes do not fit: {self.styles.shape} {self.subjects.shape} {counts}")
        if self.of_prompts is not None and not self._is_spread(self.of_prompts):
            raise InvalidBasis(f"{self.of_prompts.shape} shares of {self.size} styles and subjects, or none of them")
        smallest, largest = norm_range_of(*sets)
        low, high = self.norm_range
        if not (low / NORM_TOLERANCE <= smallest and largest <= high * NORM_TOLERANCE):  # also catches NaN
            raise InvalidBasis(f"row norms {smallest:.3f} to {largest:.3f}, trained {low} to {high}")

    def _is_spread(self, shares: Floats) -> bool:
        fits = shares.ndim == 3 and shares.shape[1:] == self.size  # noqa: PLR2004
        return fits and bool((shares >= 0).all() and np.allclose(shares.sum(axis=(1, 2)), 1, atol=1e-3))

    @property
    def size(self) -> tuple[int, int]:
        """(S, J)."""
        return len(self.styles), len(self.subjects)

    @property
    def rows(self) -> int:
        """a + b, the number of virtual tokens of a pair's prompt."""
        return int(self.styles.shape[1] + self.subjects.shape[1])

    def prompt(self, style: int, subject: int) -> Floats:
        """The prompt of a pair: the rows of the style, then those of the subject, (a + b, d) float32."""
        return np.concatenate([self.styles[style], self.subjects[subject]])

    def pairs(self) -> Floats:
        """The prompts of all pairs, (S J, a + b, d) float32; the one at s J + j is of style s and subject j."""
        styles, subjects = self.size
        first = np.repeat(self.styles, subjects, axis=0)
        return np.concatenate([first, np.tile(self.subjects, (styles, 1, 1))], axis=1)

    @property
    def version(self) -> str:
        """Twelve hex digits of all that a post written under a pair depends on."""
        digest = hashlib.sha256(json.dumps([FORMAT, self.revision, asdict(self.template)]).encode())
        for prompts in (self.styles, self.subjects):
            digest.update(json.dumps(prompts.shape).encode())
            digest.update(np.ascontiguousarray(prompts, np.float16).tobytes())
        if self.of_prompts is not None:
            digest.update(self.mixture.encode())
            digest.update(np.ascontiguousarray(self.of_prompts, np.float32).tobytes())
        return digest.hexdigest()[:12]

    def save(self, folder: Path) -> None:
        """Write factored.safetensors and factored.json, beside the files of a `slop.basis.Basis` if there are any."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, npt.NDArray[Any]] = {
            "styles": self.styles.astype(np.float16),
            "subjects": self.subjects.astype(np.float16),
        }
        if self.of_prompts is not None:
            tensors["of_prompts"] = self.of_prompts.astype(np.float32)
        save_file(tensors, folder / TENSORS_FILE)
        about = {
            "format": FORMAT,
            "version": self.version,
            "model": self.model,
            "revision": self.revision,
            "template": asdict(self.template),
            "norm_range": self.norm_range,
            "style_words": self.style_words,
            "subject_words": self.subject_words,
            "built": self.built,
            "mixture": self.mixture,
        }
        (folder / ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the style × subject prompts in a folder.

        Raises:
            InvalidBasis: a file is missing or broken, or values are not usable.
        """
        try:
            about = json.loads((folder / ABOUT_FILE).read_text())
            tensors = load_file(folder / TENSORS_FILE)
            basis = cls(
                model=about["model"],
                revision=about["revision"],
                styles=tensors["styles"].astype(np.float32),
                subjects=tensors["subjects"].astype(np.float32),
                style_words=tuple(map(tuple, about["style_words"])),
                subject_words=tuple(map(tuple, about["subject_words"])),
                norm_range=(about["norm_range"][0], about["norm_range"][1]),
                template=Template(**about["template"]),
                built=about["built"],
                mixture=about["mixture"],
                of_prompts=tensors.get("of_prompts"),
            )
        except InvalidBasis:
            raise
        except Exception as error:
            advice = "build one with 'make style_subject'"
            raise InvalidBasis(f"no usable style × subject prompts in {folder}: {error}; {advice}") from error
        if basis.version != about["version"]:
            raise InvalidBasis(f"{folder}: {ABOUT_FILE} says version {about['version']}, it is {basis.version}")
        return basis

    @classmethod
    def beside(cls, folder: Path, basis: Basis) -> Self | None:
        """The style × subject prompts in the folder of a basis.

        None if there are none, or if they are not usable or go with another basis. In the latter case an error is
        logged, and the basis is served without them.
        """
        if not (folder / ABOUT_FILE).exists():
            return None
        try:
            found = cls.load(folder)
            found.check_goes_with(basis)
        except InvalidBasis as error:
            log.error("style_subject_prompts_unused", folder=str(folder), error=str(error))
            return None
        return found

    def check_goes_with(self, basis: Basis) -> None:
        """Check that `of_prompts` describes the prompts of this basis.

        Raises:
            InvalidBasis: it describes those of another one, or there is none.
        """
        if self.mixture != basis.prompts_version or self.revision != basis.revision:
            raise InvalidBasis(f"it goes with the basis '{self.mixture}', not {basis.prompts_version}")
        if self.of_prompts is None or len(self.of_prompts) != basis.size:
            raise InvalidBasis(f"it does not know the {basis.size} prompts of the basis {basis.prompts_version}")


def norm_range_of(*sets: Floats) -> tuple[float, float]:
    """The smallest and the largest Euclidean norm of the rows of some (..., d) prompts; NaN if a value is NaN."""
    norms = np.concatenate([np.linalg.norm(prompts.astype(np.float64), axis=-1).ravel() for prompts in sets])
    return float(norms.min()), float(norms.max())
