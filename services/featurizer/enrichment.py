"""Joins interactions with the features of their posts: this makes the signals that the learner learns from."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from featurizer import metrics
from featurizer.budget import BatchLimits, Budget, Wanted, cost_of
from featurizer.post_features import PostFeatures
from featurizer.priority import Priority
from featurizer.results import (
    SERVICE,
    Enriched,
    Item,
    Result,
    Unsignalled,
    failed_interaction,
    named,
    to_park,
    unknown_post,
)
from featurizer.text_features import NotEncoded
from kit.isolation import isolated
from slop.basis import Basis
from slop.copies import words_digest
from slop.decisions import Decision, decision_of
from slop.interaction_types import interaction_type_of
from slop.kafka.dead_letters import rejected
from slop.kafka.records import ConsumerRecord
from slop.redis.parked import reader_key
from slop.redis.parking import Parking, ParkOutcome
from slop.redis.posts import FoundPost, PostRef, PostText, SentText
from slop.redis.profiles import User
from slop.redis.served import SeenTexts
from slop.rewards import Reward, Rewards
from slop.v1.interaction_pb2 import Interaction
from slop.v1.signal_pb2 import Signal, Source

ROUNDS: Final = 4  # of looking a post up again that has come just before its interaction was parked
MOST_REDELIVERIES: Final = 16  # how often a parked interaction is published again at most
NOTHING: Final = Reward(0.5, 0.0)  # of an interaction that withdraws a decision


@dataclass(frozen=True, slots=True)
class _Poll:
    """What holds for all interactions of a poll.

    Attributes:
        epoch: of the log that they are from.
        is_live: whether the basis is live.
        budget: of posts whose features may still be computed for them.
        now_ms: the time, in milliseconds since the Unix epoch.
    """

    epoch: int
    is_live: bool
    budget: Budget
    now_ms: int


class _RewardAndDecision(NamedTuple):
    reward: Reward
    decision: Decision | None


@dataclass(slots=True)
class _Looked:
    """The known posts of some interactions.

    Attributes:
        posts: with their texts, and with features as far as these are there.
        failed: those posts whose features could not be computed, and why.
    """

    posts: dict[PostRef, FoundPost]
    failed: dict[PostRef, NotEncoded] = field(default_factory=dict)


class Enricher:
    """Turns batches of interactions into signals. It waits only for Redis, and for the features of a few posts."""

    def __init__(
        self,
        post_features: PostFeatures,
        parking: Parking,
        basis: Basis,
        rewards: Rewards,
        limits: BatchLimits,
        seen: SeenTexts,
        is_live: Callable[[], bool] = lambda: True,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        """An enricher under a basis.

        Args:
            post_features: finds posts and computes their features.
            parking: where interactions wait for their posts.
            basis: whose features signals have.
            rewards: of interactions.
            limits: on the posts whose features are computed while a batch waits.
            seen: where it is noted what readers have seen.
            is_live: whether the basis is live. While it is not, interactions that would be parked are passed over.
            wake: called when a post is wanted, so that what is parked under it may be published again.
        """
        self._post_features, self._parking, self._rewards, self._limits = post_features, parking, rewards, limits
        self._basis, self._version, self._seen = basis, basis.version, seen
        self._is_live, self._wake = is_live, wake

    def enrich(self, records: Sequence[ConsumerRecord], epoch: int) -> Enriched:
        """Turn a batch of records into signals. An exception over one record rejects that record alone.

        It may be called again with the same records: an interaction is parked only once.

        Args:
            records: of slop.interactions.v1.
            epoch: of the log that they are from.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        budget = Budget(self._limits.posts, self._limits.posts_of_reader)
        poll = _Poll(epoch, self._is_live(), budget, time.time_ns() // 1_000_000)
        return Enriched(
            isolated(
                lambda some: self._joined(some, poll),
                records,
                lambda *one: [failed_interaction(*one)],
                but=(RedisError,),
            )
        )

    def _joined(self, records: Sequence[ConsumerRecord], poll: _Poll) -> list[Result]:
        results: dict[int, Result] = {}
        waiting: dict[int, Item] = {}
        for index, record in enumerate(records):
            try:
                waiting[index] = Item(record, Interaction.FromString(record.value or b""))
            except DecodeError as error:
                results[index] = rejected(record, "not_protobuf", str(error), SERVICE)
        for _ in range(ROUNDS):
            looked = self._looked(list(waiting.values()), poll)
            self._note_seen(waiting.values(), looked, poll)
            for index, item in waiting.items():
                if (result := self._result(item, looked, poll)) is not None:
                    results[index] = result
            results |= self._parked({at: item for at, item in waiting.items() if at not in results}, looked, poll)
            waiting = {index: item for index, item in waiting.items() if index not in results}
            if not waiting:
                break
        for index, item in waiting.items():
            results[index] = rejected(item.record, "unknown_post", "its post comes and goes", SERVICE)
        return [results[index] for index in range(len(records))]

    def _looked(self, items: Sequence[Item], poll: _Poll) -> _Looked:
        """The known posts of some interactions. Missing features are computed as far as the budget allows."""
        looked = _Looked(self._post_features.find([item.post for item in items]))
        looked.posts |= self._copied(items, looked.posts)
        missing = [item for item in items if self._needs_features(item, looked.posts)]
        metrics.LOOKUPS.labels("hit").inc(len(items) - len(missing))
        metrics.LOOKUPS.labels("miss").inc(len(missing))
        chosen = {post: looked.posts[post] for post in self._chosen(missing, looked.posts, poll)}
        computed, looked.failed = self._post_features.compute(chosen, Priority.REACTION)
        looked.posts |= computed
        return looked

    def _note_seen(self, items: Iterable[Item], looked: _Looked, poll: _Poll) -> None:
        """Note the texts of known posts as seen: whatever an interaction says, its reader had the post in view."""
        if not poll.is_live:
            return
        digests = defaultdict[User, dict[bytes, None]](dict)
        for item in items:
            if (post := looked.posts.get(item.post)) is not None and (digest := words_digest(post.text.text)):
                digests[User(item.interaction.tenant, item.interaction.user_id)][digest] = None
        self._seen.add({user: list(some) for user, some in digests.items()})

    def _copied(self, items: Sequence[Item], known: Mapping[PostRef, FoundPost]) -> dict[PostRef, FoundPost]:
        """Store texts that came with interactions of unknown posts; returns these posts."""
        texts: dict[PostRef, SentText] = {}
        for item in items:
            if item.post not in known and item.interaction.HasField("post_text"):
                texts.setdefault(item.post, SentText(PostText(item.interaction.post_text)))
        if not texts:
            return {}
        puts = self._post_features.announce(list(texts.items()))
        self._want([post for post, put in zip(texts, puts, strict=True) if put.awaited])
        return self._post_features.find(list(texts))

    def _needs_features(self, item: Item, posts: Mapping[PostRef, FoundPost]) -> bool:
        post = posts.get(item.post)
        return post is not None and post.text_features is None and self._speaks(item, post.text.text)

    def _speaks(self, item: Item, text: str) -> bool:
        """Whether an interaction becomes a signal; False if finding out raises, since then `_result` rejects it."""
        with suppress(Exception):
            return self._said(item.interaction, text) is not None
        return False

    def _said(self, interaction: Interaction, text: str) -> _RewardAndDecision | None:
        """The reward and the decision of an interaction; None if it has no reward and withdraws nothing."""
        reward, decision = self._rewards.reward_of(interaction, text), decision_of(interaction)
        if reward is None and not (decision is not None and decision.withdraws):
            return None
        return _RewardAndDecision(reward or NOTHING, decision)

    def _chosen(self, missing: Sequence[Item], posts: Mapping[PostRef, FoundPost], poll: _Poll) -> set[PostRef]:
        """Those of the posts without features whose features are computed now, while all interactions wait."""
        late_ms = poll.now_ms - self._limits.late_ms
        chosen, wanted = set(), []
        for item in missing:
            free = not poll.is_live or item.interaction.received_at_ms < late_ms
            if free or self._post_features.is_free(posts[item.post]):
                chosen.add(item.post)
            else:
                cost = cost_of(posts[item.post].text.text)
                wanted.append(Wanted(reader_key(item.interaction), item.post, cost))
        return chosen | poll.budget.allot(one for one in wanted if one.post not in chosen)

    def _result(self, item: Item, looked: _Looked, poll: _Poll) -> Result | None:
        """What becomes of an interaction; None if it has to wait for the text or the features of its post."""
        try:
            post, failed = looked.posts.get(item.post), looked.failed.get(item.post)
            if post is None:
                return None if _may_speak(item.interaction) else Unsignalled.SILENT
            if (said := self._said(item.interaction, post.text.text)) is None:
                return Unsignalled.SILENT
            if failed is not None:
                return rejected(item.record, "failed", f"its post: {failed.error}", SERVICE)
            return None if post.text_features is None else self._signal(item, post, said, poll)
        except Exception as error:  # whatever the interaction contains
            return failed_interaction(item.record, error)

    def _signal(self, item: Item, post: FoundPost, said: _RewardAndDecision, poll: _Poll) -> Signal:
        interaction, record, decision = item.interaction, item.record, said.decision
        if not (math.isfinite(said.reward.label) and math.isfinite(said.reward.weight)):
            raise ValueError(f"it says {said.reward}")
        assert post.text_features is not None  # noqa: S101
        return Signal(
            event_id=interaction.event_id,
            tenant=interaction.tenant,
            user_id=interaction.user_id,
            post_id=interaction.post_id,
            source=Source(partition=record.partition, offset=record.offset, epoch=poll.epoch),
            received_at_ms=interaction.received_at_ms,
            basis=self._version,
            features=self._basis.features(post.text_features, item.post.key).tolist(),
            label=said.reward.label,
            weight=said.reward.weight,
            arm=post.text.arm_for(interaction.user_id),
            experiment=post.text.experiment_for(interaction.user_id),
            decision=decision.key if decision else 0,
            decided_at_ms=decision.at_ms if decision else 0,
            withdraws=decision is not None and decision.withdraws,
            redelivered=interaction.redeliveries > 0,
        )

    def _parked(self, items: Mapping[int, Item], looked: _Looked, poll: _Poll) -> dict[int, Result]:
        """Park interactions that have to wait, or reject expired ones. Those whose post has come are left out."""
        if not poll.is_live:
            return dict.fromkeys(items, Unsignalled.PASSED)
        results: dict[int, Result] = {}
        for_text, for_features = dict[int, Item](), dict[int, Item]()
        for index, item in items.items():
            if self._expired(item.interaction, poll.now_ms):
                results[index] = unknown_post(item)
            else:
                (for_features if item.post in looked.posts else for_text)[index] = item
        results |= self._park(for_text, for_features=False) | self._park(for_features, for_features=True)
        self._want({item.post for index, item in for_features.items() if results.get(index) is Unsignalled.PARKED})
        return results

    def _park(self, items: Mapping[int, Item], *, for_features: bool) -> dict[int, Result]:
        if not items:
            return {}
        outcomes = self._parking.park([to_park(item) for item in items.values()], for_features=for_features)
        results: dict[int, Result] = {}
        for (index, item), outcome in zip(items.items(), outcomes, strict=True):
            if outcome is ParkOutcome.PARKED:
                results[index] = Unsignalled.PARKED
            elif outcome is ParkOutcome.FULL:
                results[index] = rejected(item.record, "parking_full", f"no room for {named(item)}", SERVICE)
        return results

    def _expired(self, interaction: Interaction, now_ms: int) -> bool:
        """Whether an interaction has waited for too long, or was published again too often."""
        late = interaction.received_at_ms + self._parking.expiry_ms <= now_ms
        return late or interaction.redeliveries >= MOST_REDELIVERIES

    def _want(self, posts: Collection[PostRef]) -> None:
        if posts:
            self._parking.want(posts)
            self._wake()


def _may_speak(interaction: Interaction) -> bool:
    """Whether an interaction of an unknown post may become a signal."""
    type_ = interaction_type_of(interaction.type)
    return type_ is not None and (type_.speaks or type_.withdraws)
