"""From the wire to the records of Kafka."""

import json
from typing import Final

from collector.rejections import Rejection
from collector.wire import Dwell, Event, Post
from slop.interaction_types import INTERACTION_TYPES
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import INTERACTIONS, POSTS, REJECTED, Topic, encode, key_of
from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.post_pb2 import Post as PostRecord

MAX_PAYLOAD: Final = 4_096
SERVICE: Final = "collector"


def record_of(item: Event | Post, tenant: str, received_ms: int) -> ProducerRecord:
    """What is published of a valid item: an event is keyed by its user, a post by its id."""
    return _of_post(item, tenant, received_ms) if isinstance(item, Post) else _of_event(item, tenant, received_ms)


def _of_event(event: Event, tenant: str, received_ms: int) -> ProducerRecord:
    interaction = Interaction(
        event_id=event.event_id,
        tenant=tenant,
        user_id=event.user_id,
        post_id=event.post_id,
        type=INTERACTION_TYPES[event.type].wire_name,
        value=event.value,
        occurred_at_ms=event.timestamp,
        received_at_ms=received_ms,
        post_text=None if event.post is None else event.post.text,
        context_json=None if event.context is None else json.dumps(event.context),
        view_id=event.view_id if isinstance(event, Dwell) else None,
    )
    return ProducerRecord(INTERACTIONS, key_of(interaction), encode(interaction))


def _of_post(post: Post, tenant: str, received_ms: int) -> ProducerRecord:
    record = PostRecord(
        post_id=post.post_id,
        tenant=tenant,
        text=post.text,
        author=post.author,
        topics=post.topics,
        created_at_ms=received_ms,
    )
    return ProducerRecord(POSTS, key_of(record), encode(record))


def record_of_rejection(rejection: Rejection, topic: Topic, rejected_ms: int) -> ProducerRecord:
    """A rejected item that was meant for `topic`; of what the client sent at most MAX_PAYLOAD bytes are kept."""
    rejected = Rejected(
        reason=rejection.reason,
        detail=rejection.detail,
        source_topic=topic.name,
        payload=_payload(rejection.item),
        rejected_at_ms=rejected_ms,
        service=SERVICE,
    )
    return ProducerRecord(REJECTED, None, encode(rejected))


def _payload(item: object) -> bytes:
    try:
        return json.dumps(item).encode()[:MAX_PAYLOAD]
    except RecursionError:  # nested to the edge of what could be parsed
        return b""
