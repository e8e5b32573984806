"""Fits the factors of posts to many readers' reactions (see `slop.factors`).

The model of the reaction r in [-1, 1] of reader u to post j, with weight w, is

    r = m_j + b_u + v_j . z_u + e,   z_u ~ N(0, I),   b_u ~ N(0, s_b^2),   e ~ N(0, s^2 / w),

with v_j, (M,), and m_j the post's factors and its mean, and z_u, (M,), and b_u the reader's taste and bias. [v_j, m_j]
is normal around a linear regression on the post's text features.

It is fitted by expectation maximisation. Without text it would be probabilistic PCA with missing values (Tipping and
Bishop 1999, J. R. Statist. Soc. B 61, 611-622); the regression on features is that of Agarwal and Chen 2009
("Regression-based latent factor models", KDD). A round computes the posterior of every [z_u, b_u], then every
[v_j, m_j], then the regression and the variances. What one reader can do is limited (`fair_weights`, `sureness`).

Shapes: U readers, N posts, R reactions, T text features, D = M + 1.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV

from slop.factors import Factors
from training.factors.reactions import Reactions

Doubles = npt.NDArray[np.float64]

# A graded label is sigmoid(f), so that a reaction r = 2 label - 1 is about f / 2.
LOGIT_A_REACTION: Final = 2.0
# Limits of what one reader can do to factors that all share.
MOST_MEANS: Final = 3.0  # a reaction's weight, in mean weights
MOST_A_READER: Final = 200.0  # reactions that a reader's reactions count as
MOST_POSTS_A_READER: Final = 20.0  # posts that a reader's reactions count for in the regression on text
HALF_SURE: Final = 5.0  # readers of a post that counts half as much in the regression as one of very many
RIDGES: Final = tuple(10.0**power for power in range(-2, 5))
FEWEST_POSTS: Final = 8  # for a regression on text
SMALLEST_VARIANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How factors are fitted.

    Attributes:
        size: M, how many factors readers differ in.
        rounds: of expectation maximisation.
        seed: of the start.
    """

    size: int = 8
    rounds: int = 30
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Readers:
    """Posteriors of all readers' [z_u, b_u]: (U, D) means, (U, D, D) covariances and second moments."""

    means: Doubles
    covariances: Doubles
    moments: Doubles


def fair_weights(reactions: Reactions) -> Doubles:
    """(R,) weights of mean about 1, at most MOST_MEANS for a reaction and MOST_A_READER in all for a reader."""
    share = _shares(reactions, MOST_A_READER)
    mean = (reactions.weights * share).sum() / share.sum()
    fair: Doubles = np.minimum(reactions.weights / mean, MOST_MEANS) * share
    return fair


def sureness(reactions: Reactions) -> Doubles:
    """(N,) how much a post counts in the regression on text: from 0, without a reader, towards 1 with very many."""
    readers = np.bincount(reactions.posts, _shares(reactions, MOST_POSTS_A_READER), len(reactions.keys))
    sure: Doubles = readers / (readers + HALF_SURE)
    return sure


def _shares(reactions: Reactions, most: float) -> Doubles:
    """(R,) factors by which each reader's reactions count as at most `most`."""
    counts = np.bincount(reactions.readers, minlength=reactions.reader_count)
    shares: Doubles = np.minimum(1.0, most / counts[reactions.readers])
    return shares


def regression(text_features: Doubles, targets: Doubles, sure: Doubles) -> tuple[Doubles, Doubles]:
    """Ridge regression (scikit-learn's RidgeCV), its penalty chosen for each target by leave-one-out error.

    Args:
        text_features: (N, T).
        targets: (N, D).
        sure: (N,) how much each counts, 0 to 1.

    Returns:
        (T, D) coefficients and (D,) offset; with fewer than FEWEST_POSTS posts that count, the offset alone.
    """
    known = sure > 0
    if known.sum() < FEWEST_POSTS:
        offset = np.average(targets, axis=0, weights=sure) if known.any() else np.zeros(targets.shape[1])
        return np.zeros((text_features.shape[1], targets.shape[1])), offset
    ridge = RidgeCV(alphas=RIDGES, alpha_per_target=True).fit(text_features[known], targets[known], sure[known])
    return ridge.coef_.T, ridge.intercept_


class Fit:
    """Expectation maximisation; `run` gives the factors.

    Attributes:
        noise: s^2, for a reaction of mean weight.
        bias_variance: s_b^2.
    """

    def __init__(self, reactions: Reactions, options: FitOptions) -> None:
        self._options, self._reactions = options, reactions
        weights, self._sure = fair_weights(reactions), sureness(reactions)
        self._weights = reactions.matrix(weights)
        self._weighted = reactions.matrix(weights * reactions.values)
        self._energy = float((weights * reactions.values**2).sum())
        total, weight = self._weighted.sum(axis=0).A1, self._weights.sum(axis=0).A1
        self._means = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        rng = np.random.default_rng(options.seed)
        self._loadings = rng.normal(0, 0.1, (len(reactions.keys), options.size))
        self.noise, self.bias_variance = 0.2, 0.05

    def run(self) -> Factors:
        """The factors, scaled for the logistic model of `slop.latent.update`."""
        for _ in range(self._options.rounds):
            readers = self._expect()
            self._maximise(readers)
            self._standardise(readers)
        known = np.column_stack([self._loadings, self._means]) * LOGIT_A_REACTION
        text_map, offset = regression(self._reactions.text_features, known, self._sure)
        return Factors(tuple(self._reactions.keys), known.astype("f4"), text_map.astype("f4"), offset.astype("f4"))

    def _rows(self) -> Doubles:
        """(N, D) rows [v_j, 1], D = M + 1."""
        return np.column_stack([self._loadings, np.ones(len(self._means))])

    def _expect(self) -> _Readers:
        """The E step: Bayesian linear regression of each reader's r - m_j on [v_j, 1] (Bishop 2006, section 3.3.1)."""
        rows, size = self._rows(), self._options.size + 1
        prior = np.diag([1.0] * (size - 1) + [1 / self.bias_variance])
        precisions = (self._weights @ _outer(rows)).reshape(-1, size, size) / self.noise + prior
        residuals = self._weighted - self._weights.multiply(self._means[None])
        covariances = np.linalg.inv(precisions)
        means = np.einsum("ukl,ul->uk", covariances, np.asarray(residuals @ rows) / self.noise)
        return _Readers(means, covariances, covariances + means[:, :, None] * means[:, None, :])

    def _maximise(self, readers: _Readers) -> None:
        """The M step: [v_j, m_j] of every post, shrunk towards the regression on its text, then s^2 and s_b^2.

        For each post it solves the normal equations of the expected squared error; `left` is (N, D, D), `right` (N, D).
        """
        size, reactions = self._options.size, self._reactions
        moments = (self._weights.T @ readers.moments.reshape(len(readers.means), -1)).reshape(-1, size + 1, size + 1)
        sums, counts = self._weights.T @ readers.means, self._weights.sum(axis=0).A1
        current = np.column_stack([self._loadings, self._means])
        coefficients, offset = regression(reactions.text_features, current, self._sure)
        by_text = reactions.text_features @ coefficients + offset
        spread = np.average((current - by_text) ** 2, axis=0, weights=self._sure)
        pulls = self.noise / np.maximum(spread, SMALLEST_VARIANCE)

        left = moments.copy()
        left[:, :size, size] = left[:, size, :size] = sums[:, :size]
        left[:, size, size] = counts
        right = np.column_stack([self._weighted.T @ readers.means[:, :size], self._weighted.sum(axis=0).A1])
        right -= np.column_stack([moments[:, :size, size], sums[:, size]])
        solved = np.linalg.solve(left + np.diag(pulls), (right + pulls * by_text)[..., None])[..., 0]
        self._loadings, self._means = solved[:, :size], solved[:, size]
        self.noise = self._expected_error(readers, moments, sums, counts) / counts.sum()
        self.bias_variance = float(readers.moments[:, size, size].mean())

    def _expected_error(self, readers: _Readers, moments: Doubles, sums: Doubles, counts: Doubles) -> float:
        """The weighted sum over reactions of E[(r - m_j - [v_j, 1] . [z_u, b_u])^2], at least SMALLEST_VARIANCE."""
        rows = self._rows()
        explained = np.einsum("jk,jkl,jl->", rows, moments, rows) + 2 * (self._means * (sums * rows).sum(axis=1)).sum()
        crossed = (np.asarray(self._weighted.T @ readers.means) * rows).sum() + (
            self._means * self._weighted.sum(axis=0).A1
        ).sum()
        return max(float(self._energy - 2 * crossed + explained + (counts * self._means**2).sum()), SMALLEST_VARIANCE)

    def _standardise(self, readers: _Readers) -> None:
        """Transform the factors so that the mean second moment of readers' z is I, as their prior has it."""
        size = self._options.size
        self._loadings = self._loadings @ np.linalg.cholesky(readers.moments[:, :size, :size].mean(axis=0))


def _outer(rows: Doubles) -> Doubles:
    """(N, D) to the (N, D * D) outer products of rows with themselves."""
    return (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
