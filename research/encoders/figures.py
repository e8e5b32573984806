"""The figures of an encoder: rankings and posts for readers who were learned from its features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from client.catalogue import Post
from research.detectors import Measure
from research.encoders.arms import Encoder
from research.metrics import Estimate, over_readers, pair_accuracy
from research.topics.arms import Pool
from research.topics.people import COUNTS, Learner, Member
from slop.basis import Basis
from slop.latent import Block, Prior
from slop.profiles import Profile, scores
from slop.settings import LearningSettings
from slop.soft_prompts import shares

Shares = npt.NDArray[np.float64]
Rates = Mapping[int, Sequence[Sequence[frozenset[str]]]]
"""By seed, for every prompt, the classes of each post under it."""


@dataclass(frozen=True, slots=True)
class Row:
    """An encoder after n interactions.

    Attributes:
        ranking: share of pairs of unseen posts, one on a taste and one not, that are ranked right.
        share: of posts on a taste, by the prompts that are drawn; None where the encoder says nothing of prompts.
    """

    encoder: str
    milliseconds: float
    n: int
    ranking: Estimate
    share: Estimate | None
    readers: int


def rates_of(pools: Mapping[int, Pool], classify: Measure) -> Rates:
    """The classes of all posts under all prompts."""
    rates = {}
    for seed, pool in pools.items():
        found = iter(classify(list(chain.from_iterable(pool.posts))))
        rates[seed] = [[frozenset(next(found)) for _ in posts] for posts in pool.posts]
    return rates


def rows_of(
    encoder: Encoder,
    basis: Basis,
    posts: tuple[Sequence[Post], Sequence[Post]],
    members: Sequence[Member],
    rates: Rates,
) -> list[Row]:
    """A row for each count; the encoder's posts are those that are shown, then the unseen ones."""
    shown, unseen = posts
    features = dict(zip((post.post_id for post in shown), encoder.features, strict=False))
    learner = Learner(basis, features, prior_of(encoder.features.shape[1]))
    ahead, block = encoder.features[len(shown) :], [Block(encoder.features.shape[1])]
    ranking: dict[int, list[float]] = {n: [] for n in COUNTS}
    share: dict[int, list[float]] = {n: [] for n in COUNTS}
    for member in members:
        on_taste = [float(post.label in member.tastes) for post in unseen]
        for n, profile in learner.profiles(member).items():
            ranking[n].append(pair_accuracy(scores(profile, ahead, block).tolist(), on_taste, 1) or 0.0)
            if encoder.over_prompts:
                share[n].append(expected_share(profile, basis, member, rates))
    return [
        Row(
            encoder.name,
            encoder.milliseconds,
            n,
            over_readers(ranking[n]),
            over_readers(share[n]) if share[n] else None,
            len(members),
        )
        for n in COUNTS
    ]


def prior_of(size: int) -> Prior:
    """The prior of production over features of any size."""
    settings = LearningSettings()
    return Prior.of(np.zeros(size), settings.prior_variance, settings.bias_variance, settings.forgetting)


def expected_share(profile: Profile, basis: Basis, member: Member, rates: Rates) -> float:
    """Share on a taste of the posts under the prompts that the reader's are drawn from; 0 without a taste."""
    drawn = shares(profile, basis.size)
    if drawn is None:
        return 0.0
    tastes = set(member.tastes)
    hits = [np.mean([bool(found & tastes) for found in under]) for under in rates[member.seed]]
    return float(drawn @ np.array(hits))
