"""What readers are given by each way, dealt from posts that they share or written for each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from client.chats import Chats
from client.texts import Sampling
from research.projector import Projector
from research.prompts.choosing import CHOOSING, KnownTexts, chosen_posts
from research.prompts.ways import OwnPrompts, drawn_prompts
from research.topics.arms import POSTS, Given, Pool, dealt, drawn
from research.topics.people import MAIN, Member
from research.topics.writing import CachedWriter, WritingTask
from slop.basis import Basis
from slop.profiles import Profile


@dataclass(frozen=True, slots=True)
class Learned:
    """A reader and the profile after MAIN interactions; the number is a seed of what is drawn for the reader."""

    number: int
    member: Member
    profile: Profile

    def rng(self) -> np.random.Generator:
        """A generator with the same seed for every way, so that the ways differ in nothing else."""
        return np.random.default_rng([self.member.seed, self.number])


def first_of(learned: Sequence[Learned], count: int) -> list[Learned]:
    """The first `count` readers of every kind and seed."""
    seen: dict[tuple[str, int], int] = {}
    chosen = []
    for one in learned:
        group = one.member.kind, one.member.seed
        seen[group] = seen.get(group, 0) + 1
        if seen[group] <= count:
            chosen.append(one)
    return chosen


def for_nobody(one: Learned, plain: Pool, way: str) -> Given:
    """What a reader without a taste gets: the plain model's posts."""
    return Given(way, MAIN, one.member, drawn(plain.posts[0], POSTS, one.rng()), plain.prompt_tokens)


def given_from_pools(
    way: str, basis: Basis, learned: Sequence[Learned], soft: Mapping[int, Pool], plain: Mapping[int, Pool]
) -> list[Given]:
    """What readers get by a way that draws a prompt for each post.

    Args:
        way: one of `research.prompts.ways.DRAWN`.
        basis: what profiles are over.
        learned: the readers.
        soft: for each seed the posts under each prompt.
        plain: for each seed those for nobody.
    """
    given = []
    for one in learned:
        rng, pool = one.rng(), soft[one.member.seed]
        prompts = drawn_prompts(way, one.profile, basis.size, POSTS, rng)
        if prompts is None:
            given.append(for_nobody(one, plain[one.member.seed], way))
        else:
            given.append(Given(way, MAIN, one.member, dealt(pool, prompts, rng), pool.prompt_tokens))
    return given


def given_chosen(
    way: str,
    basis: Basis,
    learned: Sequence[Learned],
    soft: Mapping[int, Pool],
    plain: Mapping[int, Pool],
    known: KnownTexts,
) -> list[Given]:
    """What readers get by one of `research.prompts.choosing.CHOOSING`; otherwise as `given_from_pools`."""
    given = []
    for one in learned:
        seed = one.member.seed
        posts = chosen_posts(CHOOSING[way], basis, one.profile, soft[seed], known, one.rng())
        if posts is None:
            given.append(for_nobody(one, plain[seed], way))
        else:
            given.append(Given(way, MAIN, one.member, posts, soft[seed].prompt_tokens))
    return given


async def given_own(
    way: str,
    basis: Basis,
    projector: Projector,
    learned: Sequence[Learned],
    plain: Mapping[int, Pool],
    writer: CachedWriter,
    sampling: Sampling,
) -> list[Given]:
    """What readers get by a way that makes each of them a soft prompt; it is written for them, all at once."""
    make, chats = OwnPrompts(basis, projector), Chats(basis.template)
    prompts = [make(way, one.profile) for one in learned]
    tasks = [
        WritingTask(f"{way}/{one.member.reader.user_id}", chats.soft(prompt), POSTS)
        for one, prompt in zip(learned, prompts, strict=True)
        if prompt is not None
    ]
    written = iter(await writer.written(way, tasks, sampling))
    given = []
    for one, prompt in zip(learned, prompts, strict=True):
        if prompt is None:
            given.append(for_nobody(one, plain[one.member.seed], way))
        else:
            texts = next(written)
            given.append(Given(way, MAIN, one.member, texts.posts, texts.prompt_tokens))
    return given
