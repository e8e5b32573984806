"""The arms of the study: what each of them writes for the readers.

Posts under one soft prompt do not depend on the reader. So they are written once, as many as all readers of a seed may
want, and each reader gets those that production would have drawn the prompts for (`slop.soft_prompts`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from client.chats import Chats, Message, bulleted
from client.texts import Sampling
from research.topics.people import MAIN, Learner, Member
from research.topics.writing import CachedWriter, WritingTask
from slop.basis import Basis
from slop.profiles import Profile
from slop.soft_prompts import allot, shares
from training.basis.build import start_text

SOFT: Final = "SLOP"
FRESH: Final = "SLOP, a fresh reader"
WORDS: Final = "clusters' words as text"
CONTROL: Final = "no profile"
TURNS: Final = "history as chat turns"
LISTED: Final = "history in the system text"
PERSONA: Final = "persona prompt"
TUNED: Final = "prompt tuning a reader"
RIVALS: Final = (TURNS, LISTED, PERSONA, TUNED)
"""Arms that ask for posts for each reader, by the posts that were liked: features of posts have no part in them."""

POSTS: Final = 8
HISTORY: Final = 6
AT_ONCE: Final = 12  # posts a request
PERSONA_TOKENS: Final = 48
PERSONA_REQUEST: Final = "Describe in one sentence what this reader likes: the subjects, and how it is written."


@dataclass(frozen=True, slots=True)
class Given:
    """What an arm wrote for a reader after n interactions."""

    arm: str
    n: int
    member: Member
    posts: Sequence[str]
    prompt_tokens: float


@dataclass(frozen=True, slots=True)
class Pool:
    """Posts under each prompt, (K lists), and the tokens of one request."""

    posts: Sequence[Sequence[str]]
    prompt_tokens: float


def pool_tasks(chats: Sequence[Sequence[Message]], name: str, posts: int) -> list[WritingTask]:
    """Tasks for `posts` posts of every chat, AT_ONCE at a time."""
    sizes = [min(AT_ONCE, posts - start) for start in range(0, posts, AT_ONCE)]
    return [WritingTask(f"{name}/{at}", chat, size) for chat in chats for at, size in enumerate(sizes)]


class Pools:
    """Writes pools."""

    def __init__(self, writer: CachedWriter, basis: Basis, sampling: Sampling) -> None:
        self._writer, self._basis, self._sampling = writer, basis, sampling
        self._chats = Chats(basis.template)

    async def soft(self, seed: int, posts: int) -> Pool:
        """So many posts under each soft prompt."""
        return await self._pool(SOFT, [self._chats.soft(prompt) for prompt in self._basis.prompts], seed, posts)

    async def words(self, seed: int, posts: int) -> Pool:
        """Under the text that the soft prompts were begun from."""
        texts = (f"{start_text(words)}." for words in self._basis.words)
        return await self._pool(WORDS, [self._chats.under(text) for text in texts], seed, posts)

    async def control(self, seed: int, posts: int) -> Pool:
        """Under the plain system message."""
        return await self._pool(CONTROL, [self._chats.plain()], seed, posts)

    async def _pool(self, arm: str, chats: Sequence[Sequence[Message]], seed: int, posts: int) -> Pool:
        tasks = pool_tasks(chats, f"{arm}/{seed}", posts)
        written = await self._writer.written(f"{arm}, seed {seed}", tasks, self._sampling)
        each = len(tasks) // len(chats)
        parts = [written[start : start + each] for start in range(0, len(tasks), each)]
        lists = [[post for texts in part for post in texts.posts] for part in parts]
        return Pool(lists, float(np.mean([texts.prompt_tokens for texts in written])))


def served(
    basis: Basis, pool: Pool, profile: Profile, rng: np.random.Generator, posts: int = POSTS
) -> list[str] | None:
    """Posts for a reader: as many of each prompt as production allots; None for a reader without a taste."""
    share = shares(profile, basis.size)
    if share is None:
        return None
    return dealt(pool, allot(share, posts, rng), rng)


def dealt(pool: Pool, prompts: npt.NDArray[np.intp], rng: np.random.Generator) -> list[str]:
    """Different posts under prompts, (posts,), of which the same one may be there more than once."""
    counts = Counter(prompts.tolist())
    return [post for prompt, count in counts.items() for post in drawn(pool.posts[prompt], count, rng)]


def drawn(posts: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Different posts of a pool."""
    return [posts[at] for at in rng.choice(len(posts), count, replace=False)]


def from_profiles(
    arm: str, basis: Basis, learner: Learner, pools: Mapping[int, tuple[Pool, Pool]], members: Sequence[Member]
) -> list[Given]:
    """What readers get by their profiles, after each of COUNTS interactions.

    Args:
        arm: the name.
        basis: what profiles are over.
        learner: makes profiles.
        pools: for each seed the posts under the prompts, and those for nobody.
        members: the readers.
    """
    given = []
    for number, member in enumerate(members):
        rng = np.random.default_rng([member.seed, number])
        pool, plain = pools[member.seed]
        for n, profile in learner.profiles(member).items():
            posts = served(basis, pool, profile, rng) or drawn(plain.posts[0], POSTS, rng)
            given.append(Given(arm, n, member, posts, pool.prompt_tokens))
    return given


def for_nobody(pools: Mapping[int, Pool], members: Sequence[Member]) -> list[Given]:
    """The control: every post of the plain model is judged for every reader."""
    return [
        Given(CONTROL, MAIN, member, pools[member.seed].posts[0], pools[member.seed].prompt_tokens)
        for member in members
    ]


class Rivals:
    """Arms that tell the model about the reader in words, for each reader anew."""

    def __init__(self, writer: CachedWriter, chats: Chats, sampling: Sampling, posts: int) -> None:
        """`posts` are written for every reader."""
        self._writer, self._chats, self._sampling, self._posts = writer, chats, sampling, posts

    async def turns(self, members: Sequence[Member], n: int = MAIN) -> list[Given]:
        """The reader's latest liked posts as the assistant's turns."""
        return await self._given(TURNS, members, n, lambda member: self._chats.after(member.liked(n)[-HISTORY:]))

    async def listed(self, members: Sequence[Member], n: int = MAIN) -> list[Given]:
        """The same posts in the system message."""
        return await self._given(LISTED, members, n, lambda member: self._chats.listed(member.liked(n)[-HISTORY:]))

    async def persona(self, members: Sequence[Member], n: int = MAIN) -> list[Given]:
        """The model's own description of the reader, from the same posts, in the system message."""
        asked = [WritingTask(f"persona/{m.reader.user_id}", _describe(m.liked(n)[-HISTORY:]), 1) for m in members]
        greedy = Sampling(0.0, PERSONA_TOKENS, 0.0)
        written = await self._writer.written("personas", asked, greedy)
        said = {m.reader.user_id: texts.posts[0] for m, texts in zip(members, written, strict=True)}
        chat: Callable[[Member], list[Message]] = lambda m: self._chats.told([f"The reader: {said[m.reader.user_id]}"])  # noqa: E731
        return await self._given(PERSONA, members, n, chat)

    async def tuned(
        self, members: Sequence[Member], prompts: Sequence[npt.NDArray[np.float32]], n: int = MAIN
    ) -> list[Given]:
        """Soft prompts tuned for each reader, (k, d) each."""
        of = {m.reader.user_id: prompt for m, prompt in zip(members, prompts, strict=True)}
        return await self._given(TUNED, members, n, lambda member: self._chats.soft(of[member.reader.user_id]))

    async def _given(
        self, arm: str, members: Sequence[Member], n: int, chat: Callable[[Member], list[Message]]
    ) -> list[Given]:
        tasks = [WritingTask(f"{arm}/{n}/{member.reader.user_id}", chat(member), self._posts) for member in members]
        written = await self._writer.written(f"{arm}, {n} interactions", tasks, self._sampling)
        return [Given(arm, n, m, t.posts, t.prompt_tokens) for m, t in zip(members, written, strict=True)]


def _describe(liked: Sequence[str]) -> list[Message]:
    return [{"role": "user", "content": "\n".join(["A reader liked these posts:", *bulleted(liked), PERSONA_REQUEST])}]
