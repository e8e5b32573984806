"""Bases and profiles for tests: small, made at once, and nothing that a training has to run for."""

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from slop.basis import Basis, EmbedderName
from slop.encoder import Encoder
from slop.head import Head
from slop.profiles import Profile
from slop.style_subject import StyleSubjectBasis, norm_range_of
from slop.stylometrics import MEASURES
from slop.text_features import LengthScale

Floats = npt.NDArray[np.float32]

SUBJECTS = ("gardening tomatoes soil", "football goals match", "cooking soup onions", "space stars telescopes")


class TinyEmbedder:
    """A sentence embedder for tests: counts of a text's words by a hash, of unit norm, computed at once."""

    width = 8

    def __init__(self, revision: str = "test") -> None:
        self.name, self.revision = "tiny", revision

    def embed(self, texts: Sequence[str]) -> Floats:
        """(N, 8) float32."""
        return np.stack([self._embed(text) for text in texts])

    def _embed(self, text: str) -> Floats:
        words = text.lower().encode("utf-8", "replace").split()
        counts = np.bincount([zlib.crc32(word) % self.width for word in words], minlength=self.width) + 0.01
        unit: Floats = (counts / np.linalg.norm(counts)).astype(np.float32)
        return unit


def random_head(prompts: int, seed: int = 0) -> Head:
    """A head over what `TinyEmbedder` says of a post, and its stylometrics."""
    inputs = TinyEmbedder.width + len(MEASURES)
    weights = np.random.default_rng(seed).normal(size=(inputs, prompts)).astype(np.float32)
    return Head(np.zeros(inputs, np.float32), np.ones(inputs, np.float32), weights, np.zeros(prompts, np.float32))


def encoder_of(basis: Basis) -> Encoder:
    """The encoder of a basis that this module made."""
    return Encoder(basis, TinyEmbedder())


def basis_of(prompts: Floats, subjects: Sequence[str] = SUBJECTS) -> Basis:
    """A basis of (K, k, d) prompts; the crowd likes the first a little."""
    size = len(prompts)
    norms = np.linalg.norm(prompts.astype(np.float16).astype(np.float64), axis=2)
    return Basis(
        model="test",
        revision="test",
        prompts=prompts.astype(np.float16).astype(np.float32),  # as it is when read back from a file
        center=np.full(size, 1 / size, np.float32),
        scale=0.5,
        temperature=2.0,
        head=random_head(size),
        embedder=EmbedderName("tiny", "test"),
        length=LengthScale(3.0, 0.5),
        crowd_direction=np.array([0.1] + [0.0] * size, np.float32),
        words=tuple((*subject.split(), "small", "things") for subject in subjects[:size]),
        norm_range=(float(norms.min()), float(norms.max())),
    )


def random_basis(size: int = 4, rows: int = 5, width: int = 16, seed: int = 0) -> Basis:
    """A basis of random prompts, for whatever needs no language model."""
    prompts = np.random.default_rng(seed).normal(size=(size, rows, width)).astype(np.float32)
    return basis_of(prompts)


def random_style_subject(styles: int = 3, subjects: int = 4, width: int = 16, seed: int = 0) -> StyleSubjectBasis:
    """Random style × subject prompts, three rows a style and two a subject, as they are when read from a file."""
    rng = np.random.default_rng(seed)
    first, second = (
        rng.normal(size=(count, rows, width)).astype(np.float16).astype(np.float32)
        for count, rows in ((styles, 3), (subjects, 2))
    )
    words = tuple((f"word{number}", "small") for number in range(max(styles, subjects)))
    return StyleSubjectBasis(
        model="test",
        revision="test",
        styles=first,
        subjects=second,
        style_words=words[:styles],
        subject_words=words[:subjects],
        norm_range=norm_range_of(first, second),
        built={"seed": seed},
    )


def style_subject_for(basis: Basis, of_prompts: Floats, seed: int = 0) -> StyleSubjectBasis:
    """Style × subject prompts of a basis, whose prompts are spread over these by `of_prompts`, (K, S, J)."""
    _, styles, subjects = of_prompts.shape
    random = random_style_subject(styles, subjects, basis.prompts.shape[2], seed)
    return replace(random, mixture=basis.prompts_version, of_prompts=of_prompts)


def spread_over(pairs: Sequence[tuple[int | None, int | None]], styles: int = 3, subjects: int = 4) -> Floats:
    """(K, S, J): for each prompt the style and the subject that its posts are of; None: evenly of all."""
    spread = np.zeros((len(pairs), styles, subjects), np.float32)
    for share, (style, subject) in zip(spread, pairs, strict=True):
        share[slice(None) if style is None else style, slice(None) if subject is None else subject] = 1
    shares: Floats = spread / spread.sum(axis=(1, 2), keepdims=True)
    return shares


def profile_of(basis: Basis, weights: Sequence[float], interactions: int = 16, length: float = 0.0) -> Profile:
    """A reader with these weights over the prompts and this one over length, half as uncertain as at the start."""
    prior = basis.prior(1.0, 0.5, 1.0)
    mean = np.array([*weights, length, 0.0], np.float32)
    variance = (prior.variance / 4).astype(np.float32)
    new = Profile.new(basis.version, prior)
    return new.moved(mean, variance, signals=interactions, at_ms=1_767_225_600_000)
