"""The closed loop: readers react to posts, the system learns, and each reader asks for posts of their own."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from rich.progress import Progress, TaskID

from client.errors import UserError
from client.readers import Reaction, Reader
from client.rest import LINGERED_MS, Event, ProfileInWords, Written
from client.texts import Sampling
from research.stack import StudyStack

T = TypeVar("T")

HISTORY_POSTS: Final = 6
CLOSER: Final = 2  # times as many posts where it counts
FRESHNESS_POLL_S: Final = 0.005
FRESHNESS_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Person:
    """A reader with all reactions of the study, in order."""

    reader: Reader
    reactions: Sequence[Reaction]

    @property
    def user_id(self) -> str:
        """The reader's id in the system."""
        return self.reader.user_id

    def events(self, start: int, stop: int) -> list[Event]:
        """Reactions as events."""
        return [
            Event(self.user_id, reaction.post.post_id, reaction.signal, reaction.milliseconds)
            for reaction in self.reactions[start:stop]
        ]

    def liked(self, interactions: int) -> list[str]:
        """Texts of the posts liked or lingered on so far, the latest last."""
        return [reaction.post.text for reaction in self.reactions[:interactions] if reaction.liked]


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much the study generates.

    Attributes:
        counts: numbers of interactions after which posts are asked for, rising.
        posts: for each reader at every count.
        history_posts: the same for the history baseline.
        judged_at: the count that claims are about; there, and in the control arm, CLOSER times as many are generated.
        freshness: interactions that freshness is measured on.
    """

    counts: Sequence[int]
    posts: int
    history_posts: int
    judged_at: int
    freshness: int

    def times(self, count: int) -> int:
        """By what factor more posts are generated after `count` interactions."""
        return CLOSER if count == self.judged_at else 1


@dataclass(slots=True)
class LoopOutcome:
    """The generated texts, by count and reader; the control arm has no counts."""

    control: list[list[str]] = field(default_factory=list)
    soft: dict[int, list[list[str]]] = field(default_factory=dict)
    history: dict[int, list[list[str]]] = field(default_factory=dict)
    profiles: list[ProfileInWords] = field(default_factory=list)
    freshness_s: list[float] = field(default_factory=list)


class ClosedLoop:
    """One run of the study on a running stack."""

    def __init__(
        self, stack: StudyStack, people: Sequence[Person], amounts: Amounts, sampling: Sampling, progress: Progress
    ) -> None:
        self._stack, self._people, self._amounts, self._sampling = stack, people, amounts, sampling
        self._progress = progress

    async def run(self) -> LoopOutcome:
        """Run all rounds.

        Raises:
            UserError: the stack stopped answering, or gave posts that are not personal to readers it knows.
        """
        await self._stack.register(self._shown_texts(), self._progress)
        outcome = LoopOutcome()
        strangers = [f"{person.user_id}-control" for person in self._people]
        outcome.control = await self._written(strangers, "control arm", 0, self._amounts.posts * CLOSER)
        learned = 0
        for count in self._amounts.counts:
            await self._react(learned, count)
            await self._generate(count, outcome)
            learned = count
        outcome.profiles = await asyncio.gather(*(self._stack.generation.profile(p.user_id) for p in self._people))
        outcome.freshness_s = await self._freshness(learned)
        return outcome

    def _shown_texts(self) -> dict[str, str]:
        return {reaction.post.post_id: reaction.post.text for p in self._people for reaction in p.reactions}

    async def _react(self, start: int, stop: int) -> None:
        await self._stack.collector.send_events([event for p in self._people for event in p.events(start, stop)])
        await self._stack.until_learned({person.user_id: stop for person in self._people})

    async def _generate(self, count: int, outcome: LoopOutcome) -> None:
        users = [person.user_id for person in self._people]
        posts = self._amounts.posts * self._amounts.times(count)
        soft = self._written(users, f"posts after {count} interactions", count, posts)
        if count:  # both at a time: the engine writes more tokens a second for more requests
            outcome.soft[count], outcome.history[count] = await asyncio.gather(soft, self._from_history(count))
        else:
            outcome.soft[count] = await soft

    async def _written(self, users: Sequence[str], title: str, interactions: int, posts: int) -> list[list[str]]:
        task = self._progress.add_task(title, total=len(users))
        asked = (self._stack.generation.write(user, posts, self._sampling) for user in users)
        answers = await asyncio.gather(*(self._counted(call, task) for call in asked))
        _check(answers, interactions)
        return [answer.texts for answer in answers]

    async def _from_history(self, count: int) -> list[list[str]]:
        task = self._progress.add_task(f"history in the prompt, {count}", total=len(self._people))
        liked = (person.liked(count)[-HISTORY_POSTS:] for person in self._people)
        write, posts = self._stack.engine.write_after, self._amounts.history_posts * self._amounts.times(count)
        return await asyncio.gather(*(self._counted(write(h, posts, self._sampling), task) for h in liked))

    async def _counted(self, call: Awaitable[T], task: TaskID) -> T:
        result = await call
        self._progress.advance(task)
        return result

    async def _freshness(self, learned: int) -> list[float]:
        """Seconds from a 202 to the answer of the first generation that uses the interaction, one at a time."""
        task = self._progress.add_task("freshness", total=self._amounts.freshness)
        durations = []
        for number in range(self._amounts.freshness):
            turn, index = divmod(number, len(self._people))
            person = self._people[index]
            event = Event(person.user_id, person.reactions[turn].post.post_id, "dwell", LINGERED_MS)
            await self._stack.collector.send_events([event])
            durations.append(await self._until_used(person.user_id, learned + turn + 1))
            self._progress.advance(task)
        return durations

    async def _until_used(self, user_id: str, interactions: int) -> float:
        start = time.perf_counter()
        # The likeliest token: one that is drawn may be a post that is empty or known, which is written again.
        generation, one_token = self._stack.generation, Sampling(0.0, 1, self._sampling.min_p)
        while time.perf_counter() - start < FRESHNESS_TIMEOUT_S:
            if (await generation.profile(user_id)).interactions >= interactions:
                written = await generation.write(user_id, 1, one_token)
                if written.interactions >= interactions:
                    return time.perf_counter() - start
            await asyncio.sleep(FRESHNESS_POLL_S)
        raise UserError(f"an interaction of {user_id} was not used within {FRESHNESS_TIMEOUT_S:.0f} s")


def _check(answers: Sequence[Written], interactions: int) -> None:
    """Check that every answer was written with a profile that had learned exactly `interactions`.

    A reader without any positive weight is answered plainly, which counts as it is.
    """
    for answer in answers:
        if answer.interactions != interactions or answer.reason in {"unsafe_profile", "redis_unavailable", "control"}:
            raise UserError(
                f"expected posts after {interactions} interactions, got {answer.reason} after {answer.interactions}"
            )
