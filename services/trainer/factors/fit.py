"""Fitting the factors of posts to many readers' reactions (see `slop.factors`).

The model of reader u's reaction r in [-1, 1] to post j, with weight w:
r = m_j + b_u + v_j . z_u + e,  z_u ~ N(0, I),  b_u ~ N(0, s_b^2),  e ~ N(0, s^2 / w),
where the post's factors v_j and its mean m_j are normal around a regression on its text. Everything is found by
expectation maximisation (probabilistic PCA with missing values: Tipping and Bishop 1999, section 4; text as in Agarwal
and Chen 2009): readers' posteriors, then posts, then the regression and all variances.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV

from slop.factors import Factors
from trainer.factors.reactions import Reactions

Doubles = npt.NDArray[np.float64]

# A graded label is sigmoid(f), so that a reaction r = 2 label - 1 is about f / 2.
LOGIT_A_REACTION: Final = 2.0
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
    """Posteriors of [z_u, b_u] over readers: (U, D) means, (U, D, D) covariances and second moments."""

    means: Doubles
    covariances: Doubles
    moments: Doubles


def regression(text_features: Doubles, targets: Doubles) -> tuple[Doubles, Doubles]:
    """Ridge regression with the penalty chosen by leave-one-out error, for each target apart.

    Args:
        text_features: (N, T).
        targets: (N, D).

    Returns:
        (T, D) coefficients and (D,) offset; only an offset from fewer than FEWEST_POSTS posts.
    """
    if len(targets) < FEWEST_POSTS:
        return np.zeros((text_features.shape[1], targets.shape[1])), targets.mean(axis=0)
    ridge = RidgeCV(alphas=RIDGES, alpha_per_target=True).fit(text_features, targets)
    return ridge.coef_.T, ridge.intercept_


class Fit:
    """Expectation maximisation; `run` gives the factors.

    Attributes:
        noise: s^2, for a reaction of mean weight.
        bias_variance: s_b^2.
    """

    def __init__(self, reactions: Reactions, options: FitOptions) -> None:
        self._options, self._reactions = options, reactions
        weights = reactions.weights / reactions.weights.mean()
        self._weights = reactions.matrix(weights)
        self._weighted = reactions.matrix(weights * reactions.values)
        self._energy = float((weights * reactions.values**2).sum())
        total, weight = self._weighted.sum(axis=0).A1, self._weights.sum(axis=0).A1
        self._means = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        rng = np.random.default_rng(options.seed)
        self._loadings = rng.normal(0, 0.1, (len(reactions.keys), options.size))
        self.noise, self.bias_variance = 0.2, 0.05

    def run(self) -> Factors:
        """The factors, scaled for the logistic model of `slop.profiles.update`."""
        for _ in range(self._options.rounds):
            readers = self._expect()
            self._maximise(readers)
            self._standardise(readers)
        known = np.column_stack([self._loadings, self._means]) * LOGIT_A_REACTION
        text_map, offset = regression(self._reactions.text_features, known)
        return Factors(tuple(self._reactions.keys), known.astype("f4"), text_map.astype("f4"), offset.astype("f4"))

    def _rows(self) -> Doubles:
        """(N, D) rows [v_j, 1], D = M + 1."""
        return np.column_stack([self._loadings, np.ones(len(self._means))])

    def _expect(self) -> _Readers:
        rows, size = self._rows(), self._options.size + 1
        prior = np.diag([1.0] * (size - 1) + [1 / self.bias_variance])
        precisions = (self._weights @ _outer(rows)).reshape(-1, size, size) / self.noise + prior
        residuals = self._weighted - self._weights.multiply(self._means[None])
        covariances = np.linalg.inv(precisions)
        means = np.einsum("ukl,ul->uk", covariances, np.asarray(residuals @ rows) / self.noise)
        return _Readers(means, covariances, covariances + means[:, :, None] * means[:, None, :])

    def _maximise(self, readers: _Readers) -> None:
        """Posts' [v_j, m_j], pulled to what their text says, then the variances."""
        size, reactions = self._options.size, self._reactions
        moments = (self._weights.T @ readers.moments.reshape(len(readers.means), -1)).reshape(-1, size + 1, size + 1)
        sums, counts = self._weights.T @ readers.means, self._weights.sum(axis=0).A1
        current = np.column_stack([self._loadings, self._means])
        coefficients, offset = regression(reactions.text_features, current)
        by_text = reactions.text_features @ coefficients + offset
        pulls = self.noise / np.maximum(((current - by_text) ** 2).mean(axis=0), SMALLEST_VARIANCE)

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
        """The weighted sum of E[(r - m_j - [v_j, 1] . [z_u, b_u])^2]."""
        rows = self._rows()
        explained = np.einsum("jk,jkl,jl->", rows, moments, rows) + 2 * (self._means * (sums * rows).sum(axis=1)).sum()
        crossed = (np.asarray(self._weighted.T @ readers.means) * rows).sum() + (
            self._means * self._weighted.sum(axis=0).A1
        ).sum()
        return max(float(self._energy - 2 * crossed + explained + (counts * self._means**2).sum()), SMALLEST_VARIANCE)

    def _standardise(self, readers: _Readers) -> None:
        """Turn the factors so that readers' z have the covariance I, as their prior says."""
        size = self._options.size
        self._loadings = self._loadings @ np.linalg.cholesky(readers.moments[:, :size, :size].mean(axis=0))


def _outer(rows: Doubles) -> Doubles:
    """(N, D) to the (N, D * D) outer products of rows with themselves."""
    return (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
