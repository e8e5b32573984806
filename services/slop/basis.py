"""The basis: K soft prompts for a frozen language model, with all that turns a post's text into features.

A basis is one folder, which `training.basis` builds and every process reads. Other content has another version.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from slop.factors import CROWD_FACTOR_VARIANCE, Factors
from slop.head import Head
from slop.latent import Block, Prior
from slop.text_features import Components, LengthScale

Floats = npt.NDArray[np.float32]

FORMAT: Final = 3
NORM_TOLERANCE: Final = 1.01  # a row norm may be beyond the trust region by this factor
RELEARNING_FILE: Final = "generation"  # as it is called in stored folders
RELEARNING: Final = re.compile("[0-9a-z]{0,16}")


class InvalidBasis(ValueError):  # noqa: N818
    """A basis that is missing or broken, or whose values are not usable; the message says which."""


@dataclass(frozen=True, slots=True)
class Template:
    """The messages of a request to the engine. A soft prompt is the whole system message.

    Attributes:
        request: the user's message when the caller gives none.
        plain_system: the system message of a plain post, which has no soft prompt.
    """

    request: str = "Write a short post."
    plain_system: str = "You write short posts for a social feed."


@dataclass(frozen=True, slots=True)
class EmbedderName:
    """The sentence embedder that a head was fitted on: name and revision as of `slop.embedder.Embedder`."""

    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class Basis:
    """K soft prompts for a frozen language model, and the map from a post's text to its features.

    A post has T = K + 1 + C text features: its centred and scaled responsibilities under the K prompts, its length, and
    C components of its embedding. Prompts are picked by the first K, posts are ranked by all. The responsibilities are
    those of the language model's likelihoods (`slop.text_features.responsibilities`). The head estimates them from the
    post's embedding and stylometrics, without the language model. In a basis with factors, a post's features are its
    text features, then its M + 1 factors; else they are its text features.

    Attributes:
        model: name of the base model that the prompts were trained for.
        revision: hash of the base model's weights and tokenizer.
        prompts: (K, k, d) float32: K prompts of k virtual tokens, in the d dimensions of the model's token embeddings.
        center: (K,) float32, mean responsibilities over the catalogue.
        scale: what centred responsibilities are divided by, so that their mean norm over the catalogue is 1; > 0.
        temperature: of the responsibilities that the head was fitted to; > 0.
        head: from the I = E + S inputs, an embedding of width E and S stylometrics, to K responsibilities.
        embedder: the sentence embedder that the head was fitted on.
        length: the scale of the length.
        crowd_direction: (T,) float32, the prior mean of every reader's weights over the text features.
        words: for each prompt the words that describe its cluster, most typical first.
        norm_range: smallest and largest norm of a prompt's row in training: the trust region.
        template: the messages that the prompts were trained with.
        built: how it was built, for people.
        components: of the embedding; None if C = 0.
        factors: of posts; None if it has none.
        relearning: distinguishes several learnings of all readers under the same basis; empty for the first one. It is
            part of the version, and so each has keys, consumer groups and signals of its own.
    """

    model: str
    revision: str
    prompts: Floats
    center: Floats
    scale: float
    temperature: float
    head: Head
    embedder: EmbedderName
    length: LengthScale
    crowd_direction: Floats
    words: tuple[tuple[str, ...], ...]
    norm_range: tuple[float, float]
    template: Template = field(default_factory=Template)
    built: dict[str, Any] = field(default_factory=dict)
    components: Components | None = None
    factors: Factors | None = None
    relearning: str = ""

    def __post_init__(self) -> None:
        """Check shapes and values.

        Raises:
            InvalidBasis: a shape does not fit, or a value is not finite.
        """
        shapes_fit = self.center.shape == (self.size,) and self.crowd_direction.shape == (self.text_size,)
        if self.prompts.ndim != 3 or not shapes_fit or len(self.words) != self.size:  # noqa: PLR2004
            raise InvalidBasis(
                f"shapes do not fit: {self.prompts.shape} {self.center.shape} {self.crowd_direction.shape}"
            )
        scales = (self.scale, self.temperature, self.length.spread)
        arrays = (self.prompts, self.center, self.crowd_direction, np.array([*scales, self.length.center]))
        if not all(np.isfinite(array).all() for array in arrays) or min(scales) <= 0:
            raise InvalidBasis("values that are not finite")
        if not self.head.fits(self.size) or (self.components and not self.components.fits(self.head.inputs)):
            raise InvalidBasis("a head or components whose shapes do not fit, or with values that are not finite")
        if self.factors and len(self.factors.text_map) != self.text_size:
            raise InvalidBasis(f"factors of {len(self.factors.text_map)} text features, posts have {self.text_size}")

    @property
    def size(self) -> int:
        """K, the number of soft prompts."""
        return int(self.prompts.shape[0])

    @property
    def text_size(self) -> int:
        """T = K + 1 + C, the number of a post's text features."""
        return self.size + 1 + (self.components.size if self.components else 0)

    @property
    def feature_count(self) -> int:
        """F, the number of a post's features: T without factors, T + M + 1 with them."""
        return self.text_size + (self.factors.size if self.factors else 0)

    @property
    def dimensions(self) -> int:
        """D = F + B, the size of a latent: a weight for each feature, and a bias in each of the B blocks."""
        return self.feature_count + len(self.blocks)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of a latent: one for the text features and, if there are factors, one for these."""
        if self.factors is None:
            return (Block(self.text_size),)
        return Block(self.text_size, self.factors.text_share), Block(self.factors.size)

    def prior(self, variance: float, bias_variance: float, forgetting: float, factor_forgetting: float = 1.0) -> Prior:
        """The prior of every reader.

        The weights over factors have mean 0 and variance 1, except the one over the crowd factor, which has mean 1 and
        variance CROWD_FACTOR_VARIANCE.

        Args:
            variance: of the weights over the text features.
            bias_variance: of the biases.
            forgetting: of the text features' block, in (0, 1].
            factor_forgetting: of the factors' block, in (0, 1].
        """
        text = Prior.of(self.crowd_direction, variance, bias_variance, forgetting)
        if self.factors is None:
            return text
        mean, spread = np.zeros(self.factors.size), np.ones(self.factors.size)
        mean[-1], spread[-1] = 1, CROWD_FACTOR_VARIANCE
        return text.joined(Prior.of(mean, 1.0, bias_variance, factor_forgetting, spread))

    @property
    def prompts_version(self) -> str:
        """Twelve hex digits of all that a post written under one of the prompts depends on."""
        digest = hashlib.sha256(json.dumps([self.revision, asdict(self.template), self.prompts.shape]).encode())
        digest.update(np.ascontiguousarray(self.prompts, np.float16).tobytes())
        return digest.hexdigest()[:12]

    @property
    def text_version(self) -> str:
        """Twelve hex digits of all that text features depend on."""
        about = [FORMAT, self.prompts_version, self.embedder.revision, self.scale, asdict(self.length)]
        digest = hashlib.sha256(json.dumps(about).encode())
        for name, tensor in self._tensors().items():
            digest.update(f"{name} {tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return digest.hexdigest()[:12]

    def _tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that text features are computed with, by their names in the file."""
        more = self.components.tensors() if self.components else {}
        return {"center": self.center, **self.head.tensors(), **more}

    @property
    def version(self) -> str:
        """The content's version and, if there is one, the relearning: `0123456789ab.1a2b3c`."""
        return f"{self.content_version}.{self.relearning}" if self.relearning else self.content_version

    @property
    def content_version(self) -> str:
        """Twelve hex digits of all that features and latents depend on."""
        digest = hashlib.sha256(self.text_version.encode())
        digest.update(self.crowd_direction.tobytes())
        if self.factors:
            self.factors.update_digest(digest)
        return digest.hexdigest()[:12]

    def features(self, text_features: Floats, post: str | None = None) -> Floats:
        """All features of one post.

        Args:
            text_features: (T,) float32.
            post: its key (`slop.redis.posts.PostRef.key`), by which its own factors are found; None for a mere text.

        Returns:
            (F,) float32.
        """
        if self.factors is None:
            return text_features
        return np.concatenate([text_features, self.factors.of_post(post, text_features)])

    def prompt_features(self, shares: npt.ArrayLike, words: npt.ArrayLike) -> Floats:
        """The first K + 1 text features of posts: centred, scaled responsibilities, then the length.

        Args:
            shares: (..., K), the posts' responsibilities, which sum to 1.
            words: (...,), the posts' numbers of words.

        Returns:
            (..., K + 1) float32.
        """
        centred = ((np.asarray(shares, np.float64) - self.center) / self.scale).astype(np.float32)
        return np.concatenate([centred, self.length.features(words)], axis=-1)

    def text_features(self, shares: npt.ArrayLike, words: npt.ArrayLike, embeddings: npt.ArrayLike) -> Floats:
        """Text features of posts: `prompt_features`, then components if there are any.

        Args:
            shares: (..., K), the posts' responsibilities, which sum to 1.
            words: (...,), the posts' numbers of words.
            embeddings: (..., E), the posts' embeddings.

        Returns:
            (..., T) float32.
        """
        features = self.prompt_features(shares, words)
        if self.components is None:
            return features
        return np.concatenate([features, self.components.of_embeddings(embeddings)], axis=-1)

    def save(self, folder: Path) -> None:
        """Write the basis into a folder. basis.json is written last: a folder without it has no basis.

        `relearning` is not saved: `jobs.relearn` writes it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("basis.json", RELEARNING_FILE):
            (folder / name).unlink(missing_ok=True)
        tensors: dict[str, npt.NDArray[Any]] = {
            "prompts": self.prompts.astype(np.float16),
            "crowd": self.crowd_direction,
            **self._tensors(),
        }
        # safetensors writes arrays that are not contiguous wrongly.
        contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        save_file(contiguous, folder / "basis.safetensors")
        about = {
            "format": FORMAT,
            "version": self.content_version,
            "model": self.model,
            "revision": self.revision,
            "template": asdict(self.template),
            "scale": self.scale,
            "temperature": self.temperature,
            "embedder": asdict(self.embedder),
            "length": asdict(self.length),
            "norm_range": self.norm_range,
            "words": self.words,
            "built": self.built,
        }
        Factors.remove(folder)
        if self.factors:
            self.factors.save(folder)
        (folder / "basis.json").write_text(json.dumps(about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a basis.

        Raises:
            InvalidBasis: a file is missing or broken, or values are not usable.
        """
        try:
            about = json.loads((folder / "basis.json").read_text())
            _check_format(folder, about.get("format"))
            tensors = load_file(folder / "basis.safetensors")
            basis = cls(
                model=about["model"],
                revision=about["revision"],
                prompts=tensors["prompts"].astype(np.float32),
                center=tensors["center"],
                scale=about["scale"],
                temperature=about["temperature"],
                head=Head.of(tensors),
                embedder=EmbedderName(**about["embedder"]),
                length=LengthScale(**about["length"]),
                crowd_direction=tensors["crowd"],
                words=tuple(tuple(words) for words in about["words"]),
                norm_range=(about["norm_range"][0], about["norm_range"][1]),
                template=Template(**about["template"]),
                built=about["built"],
                components=Components.of(tensors),
                factors=Factors.load(folder),
                relearning=_relearning(folder),
            )
        except InvalidBasis:
            raise
        except Exception as error:
            raise InvalidBasis(f"no usable basis in {folder}: {error}; build one with 'make basis'") from error
        if basis.content_version != about["version"]:
            content = basis.content_version
            raise InvalidBasis(f"{folder}: basis.json says version {about['version']}, the content is {content}")
        return basis


def _relearning(folder: Path) -> str:
    """The relearning of the basis in a folder; empty if it is the first one."""
    path = folder / RELEARNING_FILE
    relearning = path.read_text().strip() if path.exists() else ""
    if not RELEARNING.fullmatch(relearning):
        raise InvalidBasis(f"{path} has no valid relearning: {relearning[:40]!r}")
    return relearning


def _check_format(folder: Path, found: object) -> None:
    if found != FORMAT:
        advice = "build one with 'make basis'"
        raise InvalidBasis(f"{folder} has a basis of format {found}, and this release reads {FORMAT}: {advice}")
