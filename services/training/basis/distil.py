"""Fits the head of a basis: a logistic regression distilled from the language model's responsibilities."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.model_selection import KFold
from torch import Tensor

from slop.basis import Basis, EmbedderName
from slop.embedder import SentenceEmbedder
from slop.encoder import head_inputs
from slop.head import FARTHEST, Head
from slop.text_features import Components, LengthScale, responsibilities
from slop.words import word_count
from training.basis.teacher import Candidates, Doubles, TeachingState, likelihoods, written_under
from training.language_model import LanguageModel

Floats = npt.NDArray[np.float32]

FOLDS: Final = 5
STEPS: Final = 300


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """How a head is fitted.

    Attributes:
        written: posts that are written under each prompt.
        candidates: prompts under which a post's likelihood is computed.
        penalty: of the squared weights.
        components: C, of the embeddings, for ranking alone.
        share: mean norm of a post's components over the catalogue; that of its centred responsibilities is 1.
    """

    written: int = 40
    candidates: int = 6
    penalty: float = 1e-3
    components: int = 0
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """The parts of a basis from which text features are computed.

    Attributes:
        built: how it was fitted, for people.
        center, scale, head, embedder, length, components: as in `slop.basis.Basis`.
    """

    center: Floats
    scale: float
    head: Head
    embedder: EmbedderName
    length: LengthScale
    components: Components | None
    built: dict[str, Any]

    @property
    def text_size(self) -> int:
        """T."""
        return len(self.center) + 1 + (self.components.size if self.components else 0)

    def of(self, basis: Basis) -> Basis:
        """A basis with these parts in place of its own; without factors, since they were fitted to its own features."""
        crowd = np.zeros(self.text_size, np.float32)
        crowd[: basis.size + 1] = basis.crowd_direction[: basis.size + 1]
        return replace(basis, crowd_direction=crowd, factors=None, built=basis.built | self.built, **self.fields())

    def fields(self) -> dict[str, Any]:
        """The parts by their names in `Basis`."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "built"}


def fit_head(
    model: LanguageModel,
    embedder: SentenceEmbedder,
    prompts: Tensor,
    posts: list[str],
    temperature: float,
    options: HeadOptions,
    checkpoint: Path,
    seed: int,
) -> Fitted:
    """Write posts under the prompts, compute all posts' responsibilities with the model, and fit a head to them.

    It may be called again after an interruption.

    Args:
        model: the base model of the prompts.
        embedder: of the basis.
        prompts: (K, k, d).
        posts: the catalogue's, over which features are centred and scaled.
        temperature: of the responsibilities.
        options: of the fit.
        checkpoint: file that keeps what is done in case of an interruption.
        seed: of everything random.
    """
    state = TeachingState.at(checkpoint, prompts, posts, options.written, seed)
    written = written_under(model, prompts, options.written, seed, state)
    texts = [*posts, *written.texts]
    embeddings = embedder.embed(texts)
    inputs = np.array([head_inputs(text, embedding) for text, embedding in zip(texts, embeddings, strict=True)])
    wrote = np.eye(len(prompts))[written.prompts]
    first = fitted(inputs[len(posts) :], wrote, options.penalty).shares(inputs)
    candidates = candidates_of(first, options.candidates)
    candidates[len(posts) :] |= wrote > 0
    shares = responsibilities(likelihoods(model, prompts, texts, candidates, state), temperature)
    unseen = out_of_fold(inputs, shares, options.penalty, seed)[: len(posts)]
    center = unseen.mean(axis=0)
    return Fitted(
        center=center.astype(np.float32),
        scale=max(float(np.linalg.norm(unseen - center, axis=1).mean()), np.finfo(np.float32).eps.item()),
        head=fitted(inputs, shares, options.penalty),
        embedder=EmbedderName(embedder.name, embedder.revision),
        length=LengthScale.of([word_count(text) for text in posts]),
        components=components_of(embeddings[: len(posts)], options.components, options.share),
        built={"written_posts": len(written.texts), "candidates": options.candidates},
    )


def candidates_of(shares: Doubles, count: int) -> Candidates:
    """(N, K), for each post the `count` prompts with the largest shares."""
    places: Candidates = (-shares).argsort(axis=1, kind="stable").argsort(axis=1) < count
    return places


def fitted(inputs: Doubles, shares: Doubles, penalty: float) -> Head:
    """Multinomial logistic regression with an L2 penalty, by L-BFGS (Bishop 2006, section 4.3.4).

    It minimises the mean cross-entropy of `shares` and the softmax, plus penalty / 2 times the sum of squared weights.

    Args:
        inputs: (N, I) of posts; they are standardised to mean 0 and deviation 1.
        shares: (N, K) responsibilities to learn, each row summing to 1.
        penalty: of the squared weights; the bias has none.
    """
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0)
    spread = np.where(spread > np.finfo(np.float32).eps, spread, 1.0)
    scores = np.clip((inputs - mean) / spread, -FARTHEST, FARTHEST)
    shape = (inputs.shape[1] + 1, shares.shape[1])

    def loss(flat: Doubles) -> tuple[float, Doubles]:
        weights, bias = flat.reshape(shape)[:-1], flat.reshape(shape)[-1]
        logs = log_softmax(scores @ weights + bias, axis=1)
        wrong = (np.exp(logs) - shares) / len(shares)
        slope = np.vstack([scores.T @ wrong + penalty * weights, wrong.sum(axis=0)])
        return float(-(shares * logs).sum() / len(shares) + penalty / 2 * (weights**2).sum()), slope.ravel()

    best = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
    weights = best.reshape(shape).astype(np.float32)
    return Head(mean.astype(np.float32), spread.astype(np.float32), weights[:-1], weights[-1])


def out_of_fold(inputs: Doubles, shares: Doubles, penalty: float, seed: int) -> Doubles:
    """(N, K) responsibilities by heads that were fitted on other posts, in FOLDS-fold cross-validation."""
    found = np.empty(shares.shape)
    for rest, fold in KFold(FOLDS, shuffle=True, random_state=seed).split(inputs):
        found[fold] = fitted(inputs[rest], shares[rest], penalty).shares(inputs[fold])
    return found


def components_of(embeddings: Floats, count: int, share: float) -> Components | None:
    """The first `count` principal components of (N, E) embeddings, of mean norm `share`; None if count is 0."""
    if not count:
        return None
    mean = embeddings.mean(axis=0, dtype=np.float64)
    _, _, rows = np.linalg.svd(embeddings - mean, full_matrices=False)
    directions = rows[:count].T
    norm = float(np.linalg.norm((embeddings - mean) @ directions, axis=1).mean())
    return Components(mean.astype(np.float32), (share / norm * directions).astype(np.float32))
