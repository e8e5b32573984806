"""Interactions joined with their posts: the signals that the learner learns from."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from google.protobuf.message import DecodeError

from slop.basis import Basis
from slop.posts import PostRef, PostText, StoredPost
from slop.rewards import Rewards
from slop.streams import Record
from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.signal_pb2 import Signal, Source
from trainer.catalog import Catalog

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Enriched:
    """What became of a batch: signals in the order of their interactions, rejections, and how many said nothing."""

    signals: list[Signal] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    silent: int = 0


class Enricher:
    """Turns batches of interactions into signals."""

    def __init__(self, catalog: Catalog, basis: Basis, rewards: Rewards) -> None:
        self._rewards = rewards
        self._catalog, self._basis, self._version = catalog, basis, basis.version

    def enrich(self, records: Sequence[Record]) -> Enriched:
        """Signals of a batch; the order of the records is kept.

        Raises:
            redis.exceptions.RedisError: Redis does not answer; the batch may be tried again.
        """
        enriched = Enriched()
        read = [(record, interaction) for record in records if (interaction := _decode(record, enriched))]
        self._catalog.announce({_ref(i): PostText(i.post_text) for _, i in read if i.HasField("post_text")})
        posts = self._catalog.find([_ref(interaction) for _, interaction in read])
        for record, interaction in read:
            self._join(record, interaction, posts.get(_ref(interaction)), enriched)
        return enriched

    def _join(self, record: Record, interaction: Interaction, post: StoredPost | None, enriched: Enriched) -> None:
        if post is None:
            detail = f"no text for post {json.dumps(interaction.post_id)}"
            enriched.rejected.append(_rejected(record, "unknown_post", detail))
        elif (reward := self._rewards.reward_of(interaction, post.text.text)) is None:
            enriched.silent += 1
        else:
            enriched.signals.append(
                Signal(
                    event_id=interaction.event_id,
                    tenant=interaction.tenant,
                    user_id=interaction.user_id,
                    post_id=interaction.post_id,
                    source=Source(partition=record.partition, offset=record.offset),
                    received_at_ms=interaction.received_at_ms,
                    basis=self._version,
                    features=self._basis.features(post.text_features, _ref(interaction).key).tolist(),
                    label=reward.label,
                    weight=reward.weight,
                    arm=post.text.arm_for(interaction.user_id),
                )
            )


def _ref(interaction: Interaction) -> PostRef:
    return PostRef(interaction.tenant, interaction.post_id)


def _decode(record: Record, enriched: Enriched) -> Interaction | None:
    try:
        return Interaction.FromString(record.value or b"")
    except DecodeError as error:
        enriched.rejected.append(_rejected(record, "not_protobuf", str(error)))
        return None


def _rejected(record: Record, reason: str, detail: str) -> Rejected:
    return Rejected(
        reason=reason,
        detail=detail,
        source_topic=record.topic,
        payload=record.value or b"",
        rejected_at_ms=int(time.time() * 1000),
    )
