"""The basis: the versioned artifact that turns a reader's weights into one of K soft prompts."""

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
from slop.head import Components, Head, softmax
from slop.latent import Block, Prior

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

FORMAT: Final = 3
NORM_TOLERANCE: Final = 1.01
LENGTH_SHARE: Final = 0.5
FARTHEST_LENGTH: Final = 4.0
RELEARNING_FILE: Final = "generation"
RELEARNING: Final = re.compile("[0-9a-z]{0,16}")


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
    return softmax(np.asarray(log_likelihoods, dtype=np.float64) / temperature)


@dataclass(frozen=True, slots=True)
class LengthScale:
    """How long posts are, which many people care about more than what is said (humor above all).

    Attributes:
        center: mean of log(1 + words) over the catalogue.
        spread: its standard deviation, > 0.
    """

    center: float
    spread: float

    @classmethod
    def of(cls, words: npt.ArrayLike) -> Self:
        """The scale of posts of so many words each, (N,)."""
        logs = np.log1p(np.asarray(words, dtype=np.float64))
        return cls(float(logs.mean()), max(float(logs.std()), np.finfo(np.float32).eps.item()))

    def features(self, words: npt.ArrayLike) -> Floats:
        """LENGTH_SHARE standard scores of log(1 + words), (..., 1) float32, at most FARTHEST_LENGTH deviations."""
        logs = np.log1p(np.asarray(words, dtype=np.float64))
        scores = np.clip((logs - self.center) / self.spread, -FARTHEST_LENGTH, FARTHEST_LENGTH)
        features: Floats = (LENGTH_SHARE * scores)[..., None].astype(np.float32)
        return features


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
class EmbedderName:
    """Which sentence embedder a head was fitted on (see `slop.embedder`)."""

    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class Basis:
    """K soft prompts for a frozen model, and the map from a post's text to its features.

    A post's T = K + 1 + C text features are what each prompt has to do with it, its length, and C components of its
    embedding; the latter two ranking alone reads. What a prompt has to do with a post is defined by how likely it makes
    the post (`responsibilities`) and told by a head on the post's embedding and stylometrics, which learned it from the
    language model. Where many readers' reactions were learned from, the post's factors follow.

    Attributes:
        model: name of the base model that the prompts were trained on.
        revision: hash of the base model's weights and tokenizer.
        prompts: (K, k, d) float32, the rows being virtual tokens.
        center: (K,) float32, mean responsibilities over the catalogue.
        scale: what centred responsibilities are divided by, so that their mean norm is 1.
        temperature: of the responsibilities that the head learned.
        head: from embedding and stylometrics to responsibilities.
        embedder: whose embeddings these are.
        length: how long the catalogue's posts are.
        crowd_direction: (T,) float32, the crowd's direction c over the text features: the prior mean of every reader.
        words: for every prompt the words that describe its cluster, most typical first.
        norm_range: smallest and largest row norm seen in training; the trust region.
        built: how it was built, for people.
        components: of embeddings, for ranking alone; without them C = 0.
        factors: of posts, from many readers' reactions; without them F = T.
        relearning: which learning of the readers under it this is: relearned beside the former one, it has keys, groups
            and signals of its own, since it has a version of its own. Empty: the first one.
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
        """T = K + 1 + C: what each prompt has to do with a post, the post's length, and components of its embedding."""
        return self.size + 1 + (self.components.size if self.components else 0)

    @property
    def feature_count(self) -> int:
        """F: the text features and the factors."""
        return self.text_size + (self.factors.size if self.factors else 0)

    @property
    def dimensions(self) -> int:
        """D: the weights over the features, and the reader's own bias in each block."""
        return self.feature_count + len(self.blocks)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The text features and, if there are any, the factors."""
        if self.factors is None:
            return (Block(self.text_size),)
        return Block(self.text_size, self.factors.text_share), Block(self.factors.size)

    def prior(self, variance: float, bias_variance: float, forgetting: float, factor_forgetting: float = 1.0) -> Prior:
        """What is believed of a reader before the first signal; `variance` is of the weights over text features."""
        text = Prior.of(self.crowd_direction, variance, bias_variance, forgetting)
        if self.factors is None:
            return text
        crowd, spread = np.zeros(self.factors.size), np.ones(self.factors.size)
        crowd[-1], spread[-1] = 1, CROWD_FACTOR_VARIANCE
        return text.joined(Prior.of(crowd, 1.0, bias_variance, factor_forgetting, spread))

    @property
    def prompts_version(self) -> str:
        """Twelve hex digits that change with anything that posts written under the prompts depend on."""
        digest = hashlib.sha256(json.dumps([self.revision, asdict(self.template), self.prompts.shape]).encode())
        digest.update(np.ascontiguousarray(self.prompts, np.float16).tobytes())
        return digest.hexdigest()[:12]

    @property
    def text_version(self) -> str:
        """Twelve hex digits that change with anything that text features depend on."""
        about = [FORMAT, self.prompts_version, self.embedder.revision, self.scale, asdict(self.length)]
        digest = hashlib.sha256(json.dumps(about).encode())
        for name, tensor in self._tensors().items():
            digest.update(f"{name} {tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor).tobytes())
        return digest.hexdigest()[:12]

    def _tensors(self) -> dict[str, npt.NDArray[Any]]:
        """What text features are made with."""
        more = self.components.tensors() if self.components else {}
        return {"center": self.center, **self.head.tensors(), **more}

    @property
    def version(self) -> str:
        """The content's version and, if it is not the first, the generation: `0123456789ab.1a2b3c`."""
        return f"{self.content_version}.{self.relearning}" if self.relearning else self.content_version

    @property
    def content_version(self) -> str:
        """Twelve hex digits that change with anything that features or latents depend on."""
        digest = hashlib.sha256(self.text_version.encode())
        digest.update(self.crowd_direction.tobytes())
        if self.factors:
            self.factors.update_digest(digest)
        return digest.hexdigest()[:12]

    def features(self, text_features: Floats, post: str | None = None) -> Floats:
        """All features of one post, (F,) float32, from its (T,) text features and, if it may be known, its key."""
        if self.factors is None:
            return text_features
        return np.concatenate([text_features, self.factors.of_post(post, text_features)])

    def prompt_features(self, shares: npt.ArrayLike, words: npt.ArrayLike) -> Floats:
        """The first K + 1 text features of posts: centred, scaled responsibilities, then the length.

        Args:
            shares: (..., K), what each prompt has to do with the posts; they sum to 1.
            words: (...,), how many words the posts have.

        Returns:
            (..., K + 1) float32.
        """
        centred = ((np.asarray(shares, np.float64) - self.center) / self.scale).astype(np.float32)
        return np.concatenate([centred, self.length.features(words)], axis=-1)

    def text_features(self, shares: npt.ArrayLike, words: npt.ArrayLike, embeddings: npt.ArrayLike) -> Floats:
        """Text features of posts: `prompt_features`, then components if there are any.

        Args:
            shares: (..., K), what each prompt has to do with the posts; they sum to 1.
            words: (...,), how many words the posts have.
            embeddings: (..., E) of the posts.

        Returns:
            (..., T) float32.
        """
        features = self.prompt_features(shares, words)
        if self.components is None:
            return features
        return np.concatenate([features, self.components.of_embeddings(embeddings)], axis=-1)

    def save(self, folder: Path) -> None:
        """Write basis.safetensors, what factors there are, and last basis.json: with it the basis is whole.

        What is saved is of the first generation.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("basis.json", RELEARNING_FILE):
            (folder / name).unlink(missing_ok=True)
        tensors: dict[str, npt.NDArray[Any]] = {
            "prompts": self.prompts.astype(np.float16),
            "crowd": self.crowd_direction,
            **self._tensors(),
        }
        whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}  # views are written wrongly
        save_file(whole, folder / "basis.safetensors")
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
    """Which generation lies in a folder: `jobs.relearn` writes it beside a copy of a basis."""
    path = folder / RELEARNING_FILE
    generation = path.read_text().strip() if path.exists() else ""
    if not RELEARNING.fullmatch(generation):
        raise InvalidBasis(f"{path} has no generation: {generation[:40]!r}")
    return generation


def _check_format(folder: Path, found: object) -> None:
    if found != FORMAT:
        advice = "build one with 'make basis'"
        raise InvalidBasis(f"{folder} has a basis of format {found}, and this release reads {FORMAT}: {advice}")
