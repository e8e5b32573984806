"""Ways to rank jokes for a new reader: production's, and its rivals.

A method is fitted once to other readers' ratings; `reader` starts a new reader, who learns one rating after the other.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge

from slop.basis import Basis
from slop.factors import Factors
from slop.latent import Floats, Prior, update
from slop.profiles import Profile, scores
from slop.rewards import RATE_WEIGHT

Doubles = npt.NDArray[np.float64]

FLOAT_BYTES: Final = 4
SLOP: Final = "SLOP"


class PromptTokens(NamedTuple):
    """How much of a language model's prompt a reader takes, in tokens or rows: system message, and turns if any.

    Attributes:
        ranking: of a request that ranks; 0 where no language model is asked.
        writing: of a request that writes; 0 where a method has nothing to say to a language model.
    """

    ranking: int
    writing: int


NO_TOKENS: Final = PromptTokens(0, 0)


class ReaderModel(Protocol):
    """What a method knows of one reader."""

    def learn(self, joke: int, value: float) -> None:
        """Learn a rating in [-1, 1]."""

    def scores(self, jokes: Sequence[int]) -> Doubles:
        """(A,) of the jokes asked for; higher is better."""
        ...

    @property
    def stored_bytes(self) -> int:
        """What must be kept of the reader for the next request."""
        ...

    @property
    def tokens(self) -> PromptTokens:
        """What the reader takes in a prompt."""
        ...


class Method(Protocol):
    """A way to rank."""

    @property
    def name(self) -> str:
        """As tables show it."""
        ...

    def reader(self) -> ReaderModel:
        """A new reader."""
        ...


class Slop:
    """Production's own feature map, prior and update."""

    def __init__(self, basis: Basis, prior: Prior, features: Floats, name: str = SLOP) -> None:
        """`features` are the (J, F) features of the jokes under the basis."""
        self.basis, self.prior, self.features, self.name = basis, prior, features, name

    def reader(self) -> "SlopReader":
        """A new reader."""
        return SlopReader(self)


class SlopReader:
    """A reader's profile; `predicted` has for each rating the probability of a like that was believed before it."""

    def __init__(self, method: Slop) -> None:
        self._method, self._profile = method, Profile.new(method.basis.version, method.prior)
        self.predicted: list[float] = []

    def learn(self, joke: int, value: float) -> None:
        """Learn a rating in [-1, 1]."""
        label, weight = (np.array([x], np.float32) for x in ((1 + value) / 2, RATE_WEIGHT))
        mean, variance, believed = update(
            self._profile.mean[None],
            self._profile.variance[None],
            self._method.features[joke][None],
            label,
            weight,
            self._method.prior,
        )
        self.predicted.append(float(believed[0]))
        self._profile = self._profile.moved(mean[0], variance[0], signals=1, at_ms=0)

    def scores(self, jokes: Sequence[int]) -> Doubles:
        """(A,)."""
        return scores(self._profile, self._method.features, self._method.basis.blocks)[list(jokes)]

    @property
    def stored_bytes(self) -> int:
        """Of the profile as Redis has it."""
        return len(self._profile.to_bytes())

    @property
    def tokens(self) -> PromptTokens:
        """Ranking asks no language model; the soft prompt that writes has k rows."""
        return PromptTokens(0, self._method.basis.prompts.shape[1])


@dataclass(frozen=True)
class Crowd:
    """One order for all readers, by `means` of others' ratings; higher is better."""

    means: Doubles
    name: str = "crowd's mean"
    tokens: PromptTokens = NO_TOKENS

    def reader(self) -> "Crowd":
        """Everybody is the same reader."""
        return self

    def learn(self, joke: int, value: float) -> None:
        """Nothing to learn."""

    def scores(self, jokes: Sequence[int]) -> Doubles:
        """(A,)."""
        return self.means[list(jokes)]

    @property
    def stored_bytes(self) -> int:
        """Nothing."""
        return 0


class MatrixFactorisation:
    """Biased matrix factorisation with exact Bayesian folding in: Gaussian ratings, a full covariance a reader.

    Its item factors are those that SLOP's factors are fitted with, so that what differs is a reader's update.
    """

    def __init__(self, factors: Factors, rows: Floats, noise: float, bias_variance: float) -> None:
        """`rows` are the (J, M + 1) factors of the jokes; `noise` is the ratings' variance around them."""
        self.name = f"matrix factorisation, m = {factors.size - 1}"
        scaled = rows.astype(np.float64) / 2  # from logits to ratings
        self.means = scaled[:, -1]
        self.rows = np.column_stack([scaled[:, :-1], np.ones(len(rows))])
        self.noise, self.prior = noise, np.diag([*[1.0] * (factors.size - 1), 1 / bias_variance])

    def reader(self) -> "_FoldedIn":
        """A new reader."""
        return _FoldedIn(self)


class _FoldedIn:
    tokens = NO_TOKENS

    def __init__(self, method: MatrixFactorisation) -> None:
        self._method, self._precision = method, method.prior.copy()
        self._weighted = np.zeros(len(method.prior))
        self._latent = np.zeros(len(method.prior))

    def learn(self, joke: int, value: float) -> None:
        row, noise = self._method.rows[joke], self._method.noise
        self._precision += np.outer(row, row) / noise
        self._weighted += row * (value - self._method.means[joke]) / noise
        self._latent = np.linalg.solve(self._precision, self._weighted)

    def scores(self, jokes: Sequence[int]) -> Doubles:
        return np.asarray(self._method.means + self._method.rows @ self._latent)[list(jokes)]

    @property
    def stored_bytes(self) -> int:
        size = self._latent.size
        return FLOAT_BYTES * (size + size * (size + 1) // 2)


class EmbeddingRidge:
    """Ridge regression of a reader's ratings on a sentence embedding of the jokes, for each reader alone."""

    name = "ridge on text embeddings"

    def __init__(self, embeddings: Floats, penalty: float = 1.0) -> None:
        """`embeddings` are (J, E) of unit norm."""
        self.embeddings, self.penalty = embeddings.astype(np.float64), penalty

    def reader(self) -> "_RidgeReader":
        """A new reader."""
        return _RidgeReader(self)


class _RidgeReader:
    tokens = NO_TOKENS

    def __init__(self, method: EmbeddingRidge) -> None:
        self._method = method
        self._jokes: list[int] = []
        self._values: list[float] = []
        self._scores = np.zeros(len(method.embeddings))

    def learn(self, joke: int, value: float) -> None:
        self._jokes.append(joke)
        self._values.append(value)
        seen = self._method.embeddings[self._jokes]
        fitted = Ridge(alpha=self._method.penalty, solver="cholesky").fit(seen, self._values)
        self._scores = fitted.predict(self._method.embeddings)

    def scores(self, jokes: Sequence[int]) -> Doubles:
        return self._scores[list(jokes)]

    @property
    def stored_bytes(self) -> int:
        return FLOAT_BYTES * int(self._method.embeddings.shape[1])


@dataclass(frozen=True, slots=True)
class Course:
    """The course of a reader: (A,) scores of the asked jokes after each count, and CPU seconds of learning alone."""

    scores: dict[int, Doubles]
    learning_s: float


def course(
    order: Sequence[tuple[int, float]], model: ReaderModel, jokes: Sequence[int], counts: Sequence[int]
) -> Course:
    """Learn ratings one by one, and score the jokes after each count of them, 0 included if it is asked for."""
    found, spent = {0: model.scores(jokes)} if 0 in counts else {}, 0.0
    for number, (joke, value) in enumerate(order, start=1):
        started = time.process_time()
        model.learn(joke, value)
        spent += time.process_time() - started
        if number in counts:
            found[number] = model.scores(jokes)
    return Course(found, spent)
