"""What is published of a valid item, and of a rejected one."""

import json

from collector.records import MAX_PAYLOAD, record_of, record_of_rejection
from collector.rejections import Reason, Rejection
from collector.wire import Dwell, InlinePost, Post, Reaction
from slop.kafka.records import ProducerRecord
from slop.kafka.topics import INTERACTIONS, POSTS, REJECTED
from slop.v1.interaction_pb2 import Interaction, InteractionType, Rejected
from slop.v1.post_pb2 import Post as PostRecord


def interaction_of(record: ProducerRecord) -> Interaction:
    return Interaction.FromString(record.value)


def test_an_event_keeps_everything_that_the_client_said() -> None:
    event = Dwell(
        event_id="e",
        user_id="ü",
        post_id="p",
        type="dwell",
        value=1500.5,
        timestamp=1_769_860_800_000,
        post=InlinePost(text="A text."),
        context={"page": ["home", 1, None]},
        view_id="v",
    )
    record = record_of(event, "shop", 1_769_860_801_000)
    interaction = interaction_of(record)
    assert (record.topic, record.key) == (INTERACTIONS, "shop/ü".encode())
    assert json.loads(interaction.context_json) == event.context
    interaction.ClearField("context_json")
    assert interaction == Interaction(
        event_id="e",
        tenant="shop",
        user_id="ü",
        post_id="p",
        type=InteractionType.INTERACTION_TYPE_DWELL,
        value=1500.5,
        occurred_at_ms=1_769_860_800_000,
        received_at_ms=1_769_860_801_000,
        post_text="A text.",
        view_id="v",
    )


def test_what_the_client_left_out_is_absent_and_not_zero() -> None:
    event = Reaction(event_id="e", user_id="u", post_id="p", type="skip")
    interaction = interaction_of(record_of(event, "shop", 1))
    assert interaction.type == InteractionType.INTERACTION_TYPE_SKIP
    assert not any(map(interaction.HasField, ("value", "occurred_at_ms", "post_text", "context_json", "view_id")))


def test_a_post_is_keyed_by_its_id() -> None:
    record = record_of(Post(post_id="p", text="A text.", author="bo", topics=["a", "b"]), "shop", 5)
    assert (record.topic, record.key) == (POSTS, b"shop/p")
    assert PostRecord.FromString(record.value) == PostRecord(
        post_id="p", tenant="shop", text="A text.", author="bo", topics=["a", "b"], created_at_ms=5
    )


def test_of_a_rejected_item_a_bounded_part_is_kept_with_the_reason() -> None:
    rejection = Rejection({"user_id": "u" * 10_000}, Reason.USER_ID, "too long")
    record = record_of_rejection(rejection, INTERACTIONS, 7)
    rejected = Rejected.FromString(record.value)
    assert record.topic == REJECTED
    assert (rejected.reason, rejected.detail, rejected.source_topic, rejected.service) == (
        *("invalid_user_id", "too long", INTERACTIONS.name, "collector"),
    )
    assert rejected.payload.startswith(b'{"user_id": "uuu')
    assert len(rejected.payload) == MAX_PAYLOAD


def test_an_item_nested_too_deep_to_be_written_is_reported_without_it() -> None:
    item: list[object] = []
    for _ in range(100_000):
        item = [item]
    rejected = Rejected.FromString(record_of_rejection(Rejection(item, Reason.ITEM, "deep"), POSTS, 7).value)
    assert (rejected.reason, rejected.payload) == ("invalid_item", b"")
