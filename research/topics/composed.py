"""The arm that gives readers a topic and a style in one post, where style × subject prompts lie beside the basis.

Posts under a pair do not depend on the reader either, but there are too many pairs to write all of them. So all draws
are made first. Then each pair is written once for a seed, with as many posts as any one reader gets of it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from client.chats import Chats
from client.texts import Sampling
from research.topics.arms import POSTS, Given, Pool, dealt, drawn
from research.topics.people import MAIN, Learner, Member, TasteKind
from research.topics.writing import CachedWriter, WritingTask
from slop.basis import Basis
from slop.composing import Choice, Composer, Pair, checked_pair
from slop.soft_prompts import shares
from slop.style_subject import StyleSubjectBasis

COMPOSED: Final = "SLOP, composed"
SERVED: Final = (TasteKind.BOTH, TasteKind.TWO)
"""Kinds of readers who may like a topic and a style."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader's posts are to be written under after MAIN interactions; nothing for a reader without a taste."""

    member: Member
    number: int
    choices: Sequence[Choice]

    @property
    def pairs(self) -> Counter[Pair]:
        """How often each pair is wanted."""
        return Counter(choice for choice in self.choices if isinstance(choice, Pair))


def wanted_by(composer: Composer, basis: Basis, learner: Learner, members: Sequence[Member]) -> list[Wanted]:
    """What production draws for readers by their profiles after MAIN interactions."""
    wanted = []
    for number, member in enumerate(members):
        share = shares(learner.profiles(member, [MAIN])[MAIN], basis.size)
        rng = np.random.default_rng([member.seed, number])
        wanted.append(Wanted(member, number, [] if share is None else composer.draw(share, POSTS, rng)))
    return wanted


def composed_for(wanted: Iterable[Wanted]) -> dict[str, float]:
    """The share of readers of each kind who get composed posts."""
    found = defaultdict[str, list[bool]](list)
    for one in wanted:
        found[one.member.kind].append(bool(one.pairs))
    return {kind: sum(hits) / len(hits) for kind, hits in found.items()}


class ComposedPosts:
    """Writes posts under the pairs that readers are to get, and deals them out."""

    def __init__(
        self, writer: CachedWriter, basis: Basis, style_subject: StyleSubjectBasis, sampling: Sampling
    ) -> None:
        self._writer, self._basis, self._style_subject, self._sampling = writer, basis, style_subject, sampling
        self._chats = Chats(basis.template)

    async def given(self, wanted: Sequence[Wanted], pools: Mapping[int, tuple[Pool, Pool]]) -> list[Given]:
        """The arm.

        Args:
            wanted: by readers; those of SERVED kinds are written for.
            pools: for each seed the posts under the basis' prompts, and those for nobody.
        """
        served = [one for one in wanted if one.member.kind in SERVED]
        with_pairs = await self._with_pairs(served, {seed: soft for seed, (soft, _) in pools.items()})
        return [self._one(one, with_pairs[one.member.seed], pools[one.member.seed][1]) for one in served]

    def _one(self, wanted: Wanted, pool: Pool, plain: Pool) -> Given:
        rng = np.random.default_rng([wanted.member.seed, wanted.number, 1])
        prompts = np.array([self._at(choice) for choice in wanted.choices], dtype=np.intp)
        posts = dealt(pool, prompts, rng) or drawn(plain.posts[0], POSTS, rng)
        return Given(COMPOSED, MAIN, wanted.member, posts, pool.prompt_tokens)

    async def _with_pairs(self, wanted: Iterable[Wanted], soft: Mapping[int, Pool]) -> dict[int, Pool]:
        """The pools of the seeds with a list more for each pair; it is empty where nobody wants the pair."""
        most = defaultdict[int, Counter[Pair]](Counter)
        for one in wanted:
            most[one.member.seed] |= one.pairs
        asked = [(seed, pair, posts) for seed, pairs in most.items() for pair, posts in sorted(pairs.items())]
        written = await self._writer.written(COMPOSED, [self._order(*one) for one in asked], self._sampling)
        styles, subjects = self._style_subject.size
        lists = {seed: [*pool.posts, *([] for _ in range(styles * subjects))] for seed, pool in soft.items()}
        for (seed, pair, _), texts in zip(asked, written, strict=True):
            lists[seed][self._at(pair)] = texts.posts
        tokens = [float(texts.prompt_tokens) for texts in written] or [pool.prompt_tokens for pool in soft.values()]
        return {seed: Pool(posts, float(np.mean(tokens))) for seed, posts in lists.items()}

    def _order(self, seed: int, pair: Pair, posts: int) -> WritingTask:
        prompt = checked_pair(pair, self._style_subject)
        return WritingTask(f"{COMPOSED}/{seed}/{pair.style}+{pair.subject}", self._chats.soft(prompt), posts)

    def _at(self, choice: Choice) -> int:
        """Where a pool has the posts of a choice: the basis' prompts are followed by all pairs."""
        if isinstance(choice, Pair):
            return self._basis.size + choice.style * self._style_subject.size[1] + choice.subject
        return choice
