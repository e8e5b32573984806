"""A basis with new factors, if they rank better than the old ones do for readers who were held out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from slop.basis import Basis
from slop.factors import Factors
from slop.latent import Prior
from training.factors.fit import Fit, FitOptions
from training.factors.judging import Agreement, Doubles, Floats, Judge
from training.factors.reactions import Reactions

HELD_OUT: Final = 0.1  # share of the readers to choose by; another such share is to judge by
FEWEST_HELD_OUT: Final = 10
TEXT_SHARES: Final = (0.0, 0.25, 0.5, 1.0)

PriorOf = Callable[[Basis], Prior]


class RefitRefused(ValueError):  # noqa: N818
    """There are too few readers, or the new factors rank no better; the message has the figures."""


@dataclass(frozen=True, slots=True)
class Refit:
    """A basis with new factors, and how much better they rank."""

    basis: Basis
    agreement: Agreement


def refit(basis: Basis, reactions: Reactions, prior_of: PriorOf, options: FitOptions) -> Refit:
    """Fit factors to most readers, choose the text share by some others, and judge by the rest; then fit to all.

    Raises:
        RefitRefused: there are too few readers, or the new factors do not rank clearly better.
    """
    place = np.random.default_rng(options.seed).random(reactions.reader_count)
    choosing = Judge(reactions.of_readers(place < HELD_OUT))
    judge = Judge(reactions.of_readers((place >= HELD_OUT) & (place < 2 * HELD_OUT)))
    few = f"held-out readers to choose and to judge by, {FEWEST_HELD_OUT} of each are needed"
    if min(choosing.size, judge.size) < FEWEST_HELD_OUT:
        raise RefitRefused(f"{choosing.size} and {judge.size} {few}")
    before = agreement(judge, basis, reactions, prior_of)
    if before.size < FEWEST_HELD_OUT:
        raise RefitRefused(f"{choosing.size} and {before.size} with reactions that differ are the {few}")
    factors = Fit(reactions.of_readers(place >= 2 * HELD_OUT), options).run()
    trial = with_text_share(basis, factors, choosing, reactions, prior_of)
    after = agreement(judge, trial, reactions, prior_of)
    share = trial.factors.text_share if trial.factors else 0.0
    whole = replace(basis, factors=replace(Fit(reactions, options).run(), text_share=share))
    found = Agreement(before, after)
    if not found.is_better:
        raise RefitRefused(str(found))
    return Refit(whole, found)


def with_text_share(basis: Basis, factors: Factors, judge: Judge, reactions: Reactions, prior_of: PriorOf) -> Basis:
    """The basis with these factors and the share of the text features that ranks best, one of TEXT_SHARES."""
    candidates = [replace(basis, factors=replace(factors, text_share=share)) for share in TEXT_SHARES]
    features = features_of(candidates[0], reactions)
    mean = judge.learned(features, prior_of(candidates[0]))  # the share does not matter here
    return max(candidates, key=lambda candidate: judge.agreement(mean, features, candidate.blocks).mean())


def agreement(judge: Judge, basis: Basis, reactions: Reactions, prior_of: PriorOf) -> Doubles:
    """Each reader's pair agreement under a basis."""
    features = features_of(basis, reactions)
    return judge.agreement(judge.learned(features, prior_of(basis)), features, basis.blocks)


def features_of(basis: Basis, reactions: Reactions) -> Floats:
    """All features of the posts, (N, F) float32."""
    texts = reactions.text_features.astype(np.float32)
    return np.stack([basis.features(text, key) for text, key in zip(texts, reactions.keys, strict=True)])
