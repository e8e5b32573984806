"""The head of a basis, distilled from the language model: what each prompt has to do with a post, by its embedding."""

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
    """What of a basis its text features are made with.

    Attributes:
        built: how it was fitted, for people.
        others: see `slop.basis.Basis`.
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
        """A basis with its prompts, and no factors, since they build on features."""
        crowd = np.zeros(self.text_size, np.float32)
        crowd[: basis.size + 1] = basis.crowd_direction[: basis.size + 1]
        return replace(basis, crowd_direction=crowd, factors=None, built=basis.built | self.built, **self.fields())

    def fields(self) -> dict[str, Any]:
        """By the names that `Basis` has for them."""
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
    """Write posts, have the model say what the prompts have to do with all, and fit a head; may be called again.

    Args:
        model: that the prompts are of.
        embedder: that posts will be read with.
        prompts: (K, k, d).
        posts: the catalogue's, over which features are centred and scaled.
        temperature: of the responsibilities.
        options: of the fit.
        checkpoint: where to keep what is done, until all is.
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
    """The head that is likeliest, with squared weights penalised.

    Args:
        inputs: (N, I) of posts.
        shares: (N, K), which sum to 1: what it is to tell.
        penalty: of the squared weights of inputs in deviations, beside the mean cross-entropy.
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
    """(N, K), what heads say of the posts that they were not fitted on."""
    found = np.empty(shares.shape)
    for rest, fold in KFold(FOLDS, shuffle=True, random_state=seed).split(inputs):
        found[fold] = fitted(inputs[rest], shares[rest], penalty).shares(inputs[fold])
    return found


def components_of(embeddings: Floats, count: int, share: float) -> Components | None:
    """The `count` directions in which (N, E) embeddings differ most; None of none."""
    if not count:
        return None
    mean = embeddings.mean(axis=0, dtype=np.float64)
    _, _, rows = np.linalg.svd(embeddings - mean, full_matrices=False)
    directions = rows[:count].T
    norm = float(np.linalg.norm((embeddings - mean) @ directions, axis=1).mean())
    return Components(mean.astype(np.float32), (share / norm * directions).astype(np.float32))
