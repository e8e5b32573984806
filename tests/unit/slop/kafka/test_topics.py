import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import KafkaConnectionError

from slop.kafka.brokers import require_broker
from slop.kafka.topics import INTERACTIONS, POSTS, SIGNALS, TOPICS, encode, is_generated, key_of
from slop.v1.interaction_pb2 import Interaction, InteractionType
from slop.v1.post_pb2 import Post
from slop.v1.signal_pb2 import Signal

NAMES = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())


@given(NAMES, NAMES)
def test_a_users_interactions_and_signals_share_a_key(tenant: str, user: str) -> None:
    key = key_of(Interaction(tenant=tenant, user_id=user, post_id="p"))
    assert key == key_of(Signal(tenant=tenant, user_id=user, post_id="q"))


def test_a_post_is_kept_under_its_own_id_whoever_it_was_for() -> None:
    assert key_of(Post(tenant="t", post_id="p", for_user_id="u")) == key_of(Post(tenant="t", post_id="p")) == b"t/p"


@pytest.mark.parametrize("marks", [{"post_id": "gen-1"}, {"for_user_id": "u"}, {"arm": "soft"}, {"basis": "0123"}])
def test_a_generated_post_is_known_by_its_id_or_by_what_it_was_made_for(marks: dict[str, str]) -> None:
    assert is_generated(Post(tenant="t", **marks))
    assert not is_generated(Post(tenant="t", post_id="generous", text="gen-", author="gen-"))


def test_signals_have_the_partitions_of_interactions() -> None:
    assert SIGNALS.partitions == INTERACTIONS.partitions


def test_interactions_are_kept_for_ever_and_posts_compacted() -> None:
    assert INTERACTIONS.config["retention.ms"] == "-1"
    assert POSTS.config["cleanup.policy"] == "compact"


def test_topic_names_are_versioned_and_distinct() -> None:
    names = [topic.name for topic in TOPICS]
    assert all(name.startswith("slop.") and name.endswith(".v1") for name in names)
    assert len(set(names)) == len(names)


@given(NAMES, st.floats(allow_nan=False), st.integers(0, 2**62))
def test_an_interaction_comes_back_as_it_was_sent(name: str, value: float, at_ms: int) -> None:
    sent = Interaction(
        event_id=name,
        tenant="t",
        user_id=name,
        post_id=name,
        type=InteractionType.INTERACTION_TYPE_DWELL,
        value=value,
        received_at_ms=at_ms,
    )
    assert Interaction.FromString(encode(sent)) == sent


def test_a_listening_broker_is_found_behind_one_that_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
        other.close()
        require_broker(f"127.0.0.1:{closed},127.0.0.1:{listener.getsockname()[1]}")


def test_no_listening_broker_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(KafkaConnectionError, match=str(port)):
        require_broker(f"127.0.0.1:{port}")
