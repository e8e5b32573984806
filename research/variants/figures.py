"""The figures of a basis, for readers and posts that it has never seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from client.catalogue import Post
from research.composition.choice import mixture_loss
from research.metrics import Estimate, over_readers, pair_accuracy
from research.topics.arms import CONTROL, SOFT, Given, Pool, drawn, served
from research.topics.figures import Classes, Copies, found_in, share_of
from research.topics.people import Learner, Member, TasteKind
from research.variants.builds import FEW
from slop.basis import Basis
from slop.profiles import scores

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

KINDS: Final = (TasteKind.TOPIC, TasteKind.STYLE, TasteKind.TWO)
COUNTS: Final = (4, 16)
WEAK: Final = 0.4


@dataclass(frozen=True, slots=True)
class Texts:
    """Posts under the prompts of a basis, for each seed, and what is known of them."""

    pools: Mapping[int, Pool]
    plain: Pool
    classes: Classes
    copies: Copies


@dataclass(frozen=True, slots=True)
class Posts:
    """What readers react to and what is ranked for them.

    Attributes:
        shown_features: (N, T) float32.
        unseen_features: the same of the unseen posts.
        unseen_logs: (N, K), their log-likelihoods under the prompts.
        tokens: how many each of them has.
    """

    shown: Sequence[Post]
    unseen: Sequence[Post]
    shown_features: Floats
    unseen_features: Floats
    unseen_logs: Doubles
    tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class Figures:
    """One basis.

    Attributes:
        loss: of unseen posts under the basis as a whole, nats a token.
        ranking: share of pairs of unseen posts, one on a taste and one not, that are ranked right, by count.
        shares: of posts on a taste, by kind of reader and count.
        both: share of readers with two tastes who find both among 8 posts, after the most interactions.
        worst: the lowest share of a single taste, and its name.
        weak: single tastes with a share below WEAK.
        few: the share of the single tastes of `research.variants.builds.FEW`.
        near_copies: share of the posts.
    """

    loss: Estimate
    ranking: dict[int, Estimate]
    shares: dict[tuple[str, int], Estimate]
    both: Estimate
    worst: tuple[float, str]
    weak: list[str]
    few: float
    near_copies: float


def figures_of(basis: Basis, posts: Posts, members: Sequence[Member], texts: Texts) -> Figures:
    """All figures of a basis."""
    learner = Learner(basis, dict(zip((post.post_id for post in posts.shown), posts.shown_features, strict=True)))
    ranking: dict[int, list[float]] = {n: [] for n in COUNTS}
    given: list[Given] = []
    for number, member in enumerate(members):
        rng = np.random.default_rng([member.seed, number])
        on_taste = [float(post.label in member.tastes) for post in posts.unseen]
        for n, profile in learner.profiles(member, COUNTS).items():
            order = scores(profile, posts.unseen_features, basis.blocks)
            ranking[n].append(pair_accuracy(order.tolist(), on_taste, 1) or 0.0)
            dealt = served(basis, texts.pools[member.seed], profile, rng)
            given.append(Given(SOFT if dealt else CONTROL, n, member, dealt or drawn(texts.plain.posts[0], 8, rng), 0))
    return _summed_up(ranking, given, posts, texts)


def _summed_up(ranking: Mapping[int, list[float]], given: Sequence[Given], posts: Posts, texts: Texts) -> Figures:
    last = max(COUNTS)
    shares = {
        (kind.value, n): over_readers([share_of(g, texts.classes) for g in given if (g.member.kind, g.n) == (kind, n)])
        for kind in KINDS
        for n in COUNTS
    }
    two = [g for g in given if (g.member.kind, g.n) == (TasteKind.TWO, last)]
    single: dict[str, list[float]] = {}
    for one in given:
        if one.n == last and len(one.member.tastes) == 1:
            single.setdefault(one.member.tastes[0], []).append(share_of(one, texts.classes))
    tastes = {taste: float(np.mean(values)) for taste, values in single.items()}
    worst = min(tastes, key=lambda taste: tastes[taste])
    every = [text for pool in texts.pools.values() for under in pool.posts for text in under]
    return Figures(
        loss=mixture_loss({"": posts.unseen_logs}, {"": posts.tokens}),
        ranking={n: over_readers(values) for n, values in ranking.items()},
        shares=shares,
        both=over_readers([float(set(g.member.tastes) <= found_in(g, texts.classes)) for g in two]),
        worst=(tastes[worst], worst),
        weak=sorted(taste for taste, share in tastes.items() if share < WEAK),
        few=float(np.mean([tastes[taste] for taste in FEW if taste in tastes])),
        near_copies=float(np.mean([texts.copies(text) for text in every])),
    )
