"""Interactions joined with their posts: the signals that the learner learns from."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

import structlog
from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from featurizer import metrics
from featurizer.budget import BatchLimits, Budget, Wanted, cost_of
from featurizer.post_features import PostFeatures
from featurizer.priority import Priority
from featurizer.text_features import NotEncoded
from kit.isolation import isolated
from slop.basis import Basis
from slop.decisions import Decision, decision_of
from slop.interaction_types import interaction_type_of
from slop.kafka.dead_letters import rejected
from slop.kafka.records import ConsumerRecord
from slop.redis.parking import Parked, Parking, ParkOutcome, reader_key
from slop.redis.posts import FoundPost, PostRef, PostText, SentText
from slop.rewards import Reward, Rewards
from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.signal_pb2 import Signal, Source

log = structlog.get_logger(__name__)

SERVICE: Final = "featurizer"
ROUNDS: Final = 4  # what is to be parked may be known by then, so it is looked up again
MOST_REDELIVERIES: Final = 16
NOTHING: Final = Reward(0.5, 0.0)


class Unsignalled(StrEnum):
    """What became of an interaction that is neither a signal nor rejected."""

    SILENT = "silent"  # it says nothing
    PARKED = "parked"  # it waits for its post
    PASSED = "passed"  # the basis is not live: if its post comes, it comes again


Result = Signal | Rejected | Unsignalled


class Enriched:
    """What became of a batch.

    Attributes:
        signals: in the order of their interactions.
        rejected: interactions that can't be used, in that order as well.
        unsignalled: how many of the others there are of each.
    """

    def __init__(self, results: Iterable[Result]) -> None:
        """From the result of each interaction, in order."""
        self.signals: list[Signal] = []
        self.rejected: list[Rejected] = []
        self.unsignalled: Counter[Unsignalled] = Counter()
        for result in results:
            if isinstance(result, Signal):
                self.signals.append(result)
            elif isinstance(result, Rejected):
                self.rejected.append(result)
            else:
                self.unsignalled[result] += 1


class Item(NamedTuple):
    """An interaction of a batch, with its record."""

    record: ConsumerRecord
    interaction: Interaction

    @property
    def post(self) -> PostRef:
        """What it is about."""
        return PostRef(self.interaction.tenant, self.interaction.post_id)


@dataclass(frozen=True, slots=True)
class _Poll:
    epoch: int
    live: bool
    budget: Budget
    now_ms: int


class _RewardAndDecision(NamedTuple):
    reward: Reward
    decision: Decision | None


@dataclass(slots=True)
class _Looked:
    """What a look at a batch' posts found: texts, features, and why others have none."""

    posts: dict[PostRef, FoundPost]
    failed: dict[PostRef, NotEncoded] = field(default_factory=dict)


class Enricher:
    """Turns batches of interactions into signals. It waits for nothing but Redis and the features of a few posts."""

    def __init__(
        self,
        post_features: PostFeatures,
        parking: Parking,
        basis: Basis,
        rewards: Rewards,
        limits: BatchLimits,
        is_live: Callable[[], bool] = lambda: True,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        """Signals under `basis`.

        Args:
            post_features: where posts are found.
            parking: where interactions wait for them.
            basis: whose features signals have.
            rewards: what interactions say.
            limits: of the features computed for a batch.
            is_live: while it is not, nothing is parked, and what can't be known is passed over.
            wake: called when something is parked that may be published again as soon as features are computed.
        """
        self._post_features, self._parking, self._rewards, self._limits = post_features, parking, rewards, limits
        self._basis, self._version, self._is_live, self._wake = basis, basis.version, is_live, wake

    def enrich(self, records: Sequence[ConsumerRecord], epoch: int) -> Enriched:
        """What becomes of a batch; an exception over one record rejects that record alone.

        It may be done again with the same records: what is parked is not parked twice.

        Args:
            records: of the interactions' topic.
            epoch: which log they are of.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        budget = Budget(self._limits.posts, self._limits.posts_of_reader)
        batch = _Poll(epoch, self._is_live(), budget, time.time_ns() // 1_000_000)
        return Enriched(
            isolated(lambda some: self._joined(some, batch), records, lambda *one: [_failed(*one)], but=(RedisError,))
        )

    def _joined(self, records: Sequence[ConsumerRecord], batch: _Poll) -> list[Result]:
        results: dict[int, Result] = {}
        waiting: dict[int, Item] = {}
        for place, record in enumerate(records):
            try:
                waiting[place] = Item(record, Interaction.FromString(record.value or b""))
            except DecodeError as error:
                results[place] = rejected(record, "not_protobuf", str(error), SERVICE)
        for _ in range(ROUNDS):
            looked = self._looked(list(waiting.values()), batch)
            for place, item in waiting.items():
                if (result := self._result(item, looked, batch)) is not None:
                    results[place] = result
            results |= self._parked({at: item for at, item in waiting.items() if at not in results}, looked, batch)
            waiting = {place: item for place, item in waiting.items() if place not in results}
            if not waiting:
                break
        for place, item in waiting.items():
            results[place] = rejected(item.record, "unknown_post", "its post comes and goes", SERVICE)
        return [results[place] for place in range(len(records))]

    def _looked(self, items: Sequence[Item], batch: _Poll) -> _Looked:
        """The posts of a batch, with features as far as they are there or may be computed now."""
        looked = _Looked(self._post_features.find([item.post for item in items]))
        looked.posts |= self._copied(items, looked.posts)
        missing = [item for item in items if self._needs_features(item, looked.posts)]
        metrics.LOOKUPS.labels("hit").inc(len(items) - len(missing))
        metrics.LOOKUPS.labels("miss").inc(len(missing))
        chosen = {post: looked.posts[post] for post in self._chosen(missing, looked.posts, batch)}
        computed, looked.failed = self._post_features.compute(chosen, Priority.REACTION)
        looked.posts |= computed
        return looked

    def _copied(self, items: Sequence[Item], known: Mapping[PostRef, FoundPost]) -> dict[PostRef, FoundPost]:
        """Unknown posts whose text came along with an interaction."""
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
        """Whether it becomes a signal; what is wrong with it is found out when it is made one."""
        with suppress(Exception):
            return self._said(item.interaction, text) is not None
        return False

    def _said(self, interaction: Interaction, text: str) -> _RewardAndDecision | None:
        """What an interaction says and decides; None if it says nothing and takes nothing back."""
        reward, decision = self._rewards.reward_of(interaction, text), decision_of(interaction)
        if reward is None and not (decision is not None and decision.withdraws):
            return None
        return _RewardAndDecision(reward or NOTHING, decision)

    def _chosen(self, missing: Sequence[Item], posts: Mapping[PostRef, FoundPost], batch: _Poll) -> set[PostRef]:
        """The posts whose features are computed while all wait."""
        late_ms = batch.now_ms - self._limits.late_ms
        chosen, wanted = set(), []
        for item in missing:
            free = not batch.live or item.interaction.received_at_ms < late_ms
            if free or self._post_features.is_free(posts[item.post]):
                chosen.add(item.post)
            else:
                cost = cost_of(posts[item.post].text.text)
                wanted.append(Wanted(reader_key(item.interaction), item.post, cost))
        return chosen | batch.budget.allot(one for one in wanted if one.post not in chosen)

    def _result(self, item: Item, looked: _Looked, batch: _Poll) -> Result | None:
        """What becomes of an interaction; None if it has to wait for its post."""
        try:
            post, failed = looked.posts.get(item.post), looked.failed.get(item.post)
            if post is None:
                return None if _may_speak(item.interaction) else Unsignalled.SILENT
            if (said := self._said(item.interaction, post.text.text)) is None:
                return Unsignalled.SILENT
            if failed is not None:
                return rejected(item.record, "failed", f"its post: {failed.error}", SERVICE)
            return None if post.text_features is None else self._signal(item, post, said, batch)
        except Exception as error:  # whatever it has in it
            return _failed(item.record, error)

    def _signal(self, item: Item, post: FoundPost, said: _RewardAndDecision, batch: _Poll) -> Signal:
        interaction, record, decision = item.interaction, item.record, said.decision
        if not (math.isfinite(said.reward.label) and math.isfinite(said.reward.weight)):
            raise ValueError(f"it says {said.reward}")
        assert post.text_features is not None  # noqa: S101
        return Signal(
            event_id=interaction.event_id,
            tenant=interaction.tenant,
            user_id=interaction.user_id,
            post_id=interaction.post_id,
            source=Source(partition=record.partition, offset=record.offset, epoch=batch.epoch),
            received_at_ms=interaction.received_at_ms,
            basis=self._version,
            features=self._basis.features(post.text_features, item.post.key).tolist(),
            label=said.reward.label,
            weight=said.reward.weight,
            arm=post.text.arm_for(interaction.user_id),
            decision=decision.key if decision else 0,
            decided_at_ms=decision.at_ms if decision else 0,
            withdraws=decision is not None and decision.withdraws,
            redelivered=interaction.redeliveries > 0,
        )

    def _parked(self, items: Mapping[int, Item], looked: _Looked, batch: _Poll) -> dict[int, Result]:
        """What becomes of interactions that have to wait; those whose post has come meanwhile are left out."""
        if not batch.live:
            return dict.fromkeys(items, Unsignalled.PASSED)
        results: dict[int, Result] = {}
        for_text, for_features = dict[int, Item](), dict[int, Item]()
        for place, item in items.items():
            if self._expired(item.interaction, batch.now_ms):
                results[place] = _unknown(item)
            else:
                (for_features if item.post in looked.posts else for_text)[place] = item
        results |= self._park(for_text, for_features=False) | self._park(for_features, for_features=True)
        self._want({item.post for place, item in for_features.items() if results.get(place) is Unsignalled.PARKED})
        return results

    def _park(self, items: Mapping[int, Item], *, for_features: bool) -> dict[int, Result]:
        if not items:
            return {}
        outcomes = self._parking.park([_to_park(item) for item in items.values()], for_features=for_features)
        results: dict[int, Result] = {}
        for (place, item), outcome in zip(items.items(), outcomes, strict=True):
            if outcome is ParkOutcome.PARKED:
                results[place] = Unsignalled.PARKED
            elif outcome is ParkOutcome.FULL:
                results[place] = rejected(item.record, "parking_full", f"no room for {_named(item)}", SERVICE)
        return results

    def _expired(self, interaction: Interaction, now_ms: int) -> bool:
        """Whether it has waited for too long, or in vain too often."""
        late = interaction.received_at_ms + self._parking.expiry_ms <= now_ms
        return late or interaction.redeliveries >= MOST_REDELIVERIES

    def _want(self, posts: Collection[PostRef]) -> None:
        if posts:
            self._parking.want(posts)
            self._wake()


def _may_speak(interaction: Interaction) -> bool:
    """Whether an interaction may say something, with a post whose text is not known."""
    type_ = interaction_type_of(interaction.type)
    return type_ is not None and (type_.speaks or type_.withdraws)


def _to_park(item: Item) -> Parked:
    """The text is left out: it is stored with its post."""
    slim = Interaction()
    slim.CopyFrom(item.interaction)
    slim.ClearField("post_text")
    expired = _unknown(item)
    expired.payload = slim.SerializeToString(deterministic=True)
    return Parked.of(slim, expired, item.record.value or b"")


def _unknown(item: Item) -> Rejected:
    return rejected(item.record, "unknown_post", f"no text for {_named(item)}", SERVICE)


def _failed(record: ConsumerRecord, error: Exception) -> Rejected:
    log.warning("interaction failed", partition=record.partition, offset=record.offset, error=repr(error))
    return rejected(record, "failed", f"{type(error).__name__}: {error}", SERVICE)


def _named(item: Item) -> str:
    return f"post {json.dumps(item.interaction.post_id)}"
