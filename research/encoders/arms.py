"""The encoders that are compared: each makes (N, F) features of N posts."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from research.embedder import embedder, sentence_embedder
from research.encoders.race import Race
from research.likelihoods import HEAT_TOKENS, SURVIVORS, raced
from slop import encoder as production
from slop.basis import Basis
from slop.text_features import responsibilities
from slop.words import word_count
from training.language_model import MAX_POST_TOKENS, LanguageModel

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SHIPPED: Final = "what ships: the basis' head on sentence embedding and stylometrics"
FOLDS: Final = 5
TIMED: Final = 12


@dataclass(frozen=True, slots=True)
class Encoder:
    """One way to make features.

    Attributes:
        features: (N, F) float32, the last one the length.
        over_prompts: whether a feature belongs to each prompt, so that weights over them choose prompts.
        milliseconds: median CPU time for one post.
    """

    name: str
    features: Floats
    over_prompts: bool
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Inputs:
    """Vectors of posts that do not depend on the prompts.

    Attributes:
        vectors: (N, E) float32.
        milliseconds: median CPU time for one post.
    """

    name: str
    vectors: Floats
    milliseconds: float

    def beside(self, other: "Inputs") -> "Inputs":
        """Both vectors of each post, concatenated."""
        vectors = np.hstack([self.vectors, other.vectors])
        return Inputs(f"{self.name} and {other.name}", vectors, self.milliseconds + other.milliseconds)


def over_prompts(basis: Basis, logs: Doubles, words: npt.NDArray[np.intp]) -> Floats:
    """Features of a basis from other log-likelihoods, centred and scaled on these posts."""
    shares = responsibilities(logs, basis.temperature)
    center = shares.mean(axis=0)
    scale = float(np.linalg.norm(shares - center, axis=1).mean())
    return replace(basis, center=center.astype(np.float32), scale=scale).prompt_features(shares, words)


def distilled(basis: Basis, inputs: Floats, targets: Doubles, seed: int) -> Doubles:
    """(N, K) log-likelihoods but for a constant: temperature times the log-probability that a prompt is the likeliest.

    They are by logistic regression on (N, I) `inputs`; the head of each fold is fitted on the other folds' posts.
    """
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    labels, folds = targets.argmax(axis=1), KFold(FOLDS, shuffle=True, random_state=seed)
    logs = cross_val_predict(head, inputs, labels, cv=folds, method="predict_log_proba")
    full = np.full(targets.shape, logs.min())
    full[:, np.unique(labels)] = logs
    return basis.temperature * full


def compressed(inputs: Floats, components: int, seed: int) -> Floats:
    """Principal components of standardised features, of mean norm 1."""
    parts = PCA(components, random_state=seed).fit_transform(StandardScaler().fit_transform(inputs))
    return np.asarray(parts / np.linalg.norm(parts, axis=1).mean(), dtype=np.float32)


def encoders(model: LanguageModel, basis: Basis, texts: Sequence[str], tokens: Floats, seed: int) -> Iterator[Encoder]:
    """All encoders of N posts; `tokens` are their likelihoods by token."""
    yield shipped(basis, texts)
    words = np.array([word_count(text) for text in texts])
    likelihoods = list(over_likelihoods(model, basis, texts, tokens, words))
    yield from likelihoods
    hidden = inputs_of("hidden states", model.hidden_states, texts)
    sentences = inputs_of("sentence embedding", sentence_embedder, texts)
    whole = raced(tokens, basis.size)
    for inputs in (hidden, sentences, hidden.beside(sentences)):
        yield from from_inputs(basis, inputs, whole, words, seed)
    parts = compressed(sentences.vectors, basis.size, seed)
    for encoder in (likelihoods[0], likelihoods[1], likelihoods[-1]):
        yield with_parts(encoder, sentences.name, parts, sentences.milliseconds)


def shipped(basis: Basis, texts: Sequence[str]) -> Encoder:
    """Production's encoder, with the head of the basis, which has seen none of the posts that are ranked."""
    encoder = production.Encoder(basis, embedder())
    features = encoder.features_of(texts)
    prompts_and_length = np.hstack([features[:, : basis.size], features[:, -1:]])
    milliseconds = median_ms(lambda text: encoder.features_of([text]), texts[:TIMED])
    return Encoder(SHIPPED, prompts_and_length, True, milliseconds)


def inputs_of(name: str, embed: Callable[[list[str]], Floats], texts: Sequence[str]) -> Inputs:
    """Vectors of posts, and what one costs."""
    return Inputs(name, embed(list(texts)), median_ms(lambda text: embed([text]), texts[:TIMED]))


def over_likelihoods(
    model: LanguageModel, basis: Basis, texts: Sequence[str], tokens: Floats, words: npt.NDArray[np.intp]
) -> Iterator[Encoder]:
    """Likelihoods under the prompts, of more or less of a post; `words` are the posts' lengths."""
    prompts = torch.from_numpy(basis.prompts)
    for name, survivors, most in (
        ("likelihoods, whole post", basis.size, MAX_POST_TOKENS),
        ("likelihoods, 8 best after 8 tokens", SURVIVORS, MAX_POST_TOKENS),
        ("the same, first 32 tokens", SURVIVORS, 32),
        ("the same, first 24 tokens", SURVIVORS, 24),
        ("4 best after 8 tokens, first 24", 4, 24),
        ("likelihoods, first 8 tokens", basis.size, HEAT_TOKENS),
    ):
        features = over_prompts(basis, raced(tokens, survivors, most), words)
        yield Encoder(name, features, True, median_ms(Race(model, prompts, survivors, most), texts[:TIMED]))


def from_inputs(
    basis: Basis, inputs: Inputs, whole: Doubles, words: npt.NDArray[np.intp], seed: int
) -> Iterator[Encoder]:
    """The encoders by a head that learned from the likelihoods `whole` of whole posts, and by principal components."""
    head = over_prompts(basis, distilled(basis, inputs.vectors, whole, seed), words)
    yield Encoder(f"{inputs.name}, a head distilled from likelihoods", head, True, inputs.milliseconds)
    parts = np.hstack([compressed(inputs.vectors, basis.size, seed), basis.length.features(words)])
    yield Encoder(f"{inputs.name}, {basis.size} components", parts, False, inputs.milliseconds)


def with_parts(encoder: Encoder, name: str, parts: Floats, milliseconds: float) -> Encoder:
    """An encoder with (N, C) further features of the posts, before the length, and their cost."""
    features = np.hstack([encoder.features[:, :-1], parts, encoder.features[:, -1:]])
    return Encoder(f"{encoder.name}, and {name}", features, encoder.over_prompts, encoder.milliseconds + milliseconds)


def median_ms(encode: Callable[[str], object], texts: Sequence[str]) -> float:
    """Median CPU time of one call, in milliseconds, with torch on one core, after one that warms up."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encode(texts[0])
        spent = []
        for text in texts:
            start = time.process_time()
            encode(text)
            spent.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return 1_000 * float(np.median(spent))
