"""`python -m jobs rejected` on a real broker: what could not be used is listed, shown and replayed."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from kafka import KafkaProducer

from jobs.dead_letter_log import DeadLetter, DeadLetters, LetterId
from jobs.settings import JobsSettings
from slop.kafka.brokers import create_topics
from slop.kafka.dead_letters import rejected
from slop.kafka.topics import INTERACTIONS, POSTS, REJECTED, SIGNALS, Topic, encode, key_of
from slop.v1.interaction_pb2 import Interaction, Rejected
from slop.v1.post_pb2 import Post
from slop.v1.signal_pb2 import Signal, Source
from tests.collectors import collector_server, read_all, running
from tests.jobs import command, jobs_settings
from tests.learners import wait_until

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Consumed:
    """A record as a service has consumed it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


@pytest.fixture
def settings(tmp_path: Path, kafka_bootstrap: str) -> JobsSettings:
    return jobs_settings(tmp_path, "redis://127.0.0.1:1/0", kafka_bootstrap=kafka_bootstrap)


@pytest.fixture
def run(settings: JobsSettings) -> Command:
    return lambda *words: command(settings, "rejected", *words)


@pytest.fixture
def log(settings: JobsSettings) -> Iterator[DeadLetters]:
    create_topics(settings.kafka_bootstrap)
    with closing(DeadLetters(settings)) as letters:
        yield letters


@pytest.fixture
def reason() -> str:
    """A reason of the test's own, since the topic is shared."""
    return f"test_{uuid4().hex[:8]}"


def write(bootstrap: str, topic: Topic, records: Sequence[tuple[bytes | None, bytes]]) -> list[Any]:
    """Write records in this order; returns where they are, once all of them can be read."""
    create_topics(bootstrap)
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    try:
        futures = [producer.send(topic.name, key=key, value=value) for key, value in records]
        written = [future.get(timeout=30) for future in futures]
    finally:
        producer.close(timeout=5)
    values = {value for _, value in records}
    wait_until(lambda: values <= {record.value for record in read_all(bootstrap, topic)})
    return written


def of_record(topic: Topic, key: bytes | None, value: bytes | None, reason: str, offset: int = 7) -> Rejected:
    return rejected(Consumed(topic.name, 3, offset, key, value), reason, "a detail", "featurizer")


def write_rejected(bootstrap: str, letters: Sequence[Rejected]) -> list[str]:
    """The ids, in the order of the letters."""
    written = write(bootstrap, REJECTED, [(None, encode(letter)) for letter in letters])
    return [f"{record.partition}-{record.offset}" for record in written]


def document(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def an_interaction() -> Interaction:
    name = uuid4().hex
    return Interaction(event_id=name, tenant="default", user_id=f"u-{name}", post_id="p", type=3, received_at_ms=5)


def test_dead_letters_are_listed_with_the_newest_first_by_reason_and_by_time(
    run: Command, kafka_bootstrap: str, reason: str
) -> None:
    letters = [of_record(INTERACTIONS, b"default/ann", b"\xff", reason, offset) for offset in range(4)]
    letters[0].rejected_at_ms -= 3 * 3_600_000
    ids = write_rejected(kafka_bootstrap, letters)
    write_rejected(kafka_bootstrap, [of_record(INTERACTIONS, b"default/ann", b"\xff", f"{reason}_other")])

    listed = document(run("--reason", reason, "--json"))
    assert [letter["id"] for letter in listed] == ids[::-1]
    assert listed[0] | {"rejected_at": ""} == {
        "id": ids[-1],
        "rejected_at": "",
        "reason": reason,
        "detail": "a detail",
        "service": "featurizer",
        "topic": INTERACTIONS.name,
        "partition": 3,
        "offset": 3,
        "key": "default/ann",
        "bytes": 1,
        "replayable": True,
    }
    assert [letter["id"] for letter in document(run("list", "--reason", reason, "--since", "2h", "--json"))] == ids[
        :0:-1
    ]
    assert [letter["id"] for letter in document(run("--reason", reason, "--limit", "1", "--json"))] == ids[-1:]
    assert document(run("--json"))[0]["reason"] == f"{reason}_other"

    lines = run("list", "--reason", reason).stdout.splitlines()
    assert lines[0].split() == ["id", "when", "(UTC)", "reason", "service", "from", "detail"]
    assert [line.split()[0] for line in lines[1:]] == ids[::-1]
    assert f"{INTERACTIONS.name}/3/3" in lines[1]


def test_a_dead_letter_is_shown_as_what_it_is(log: DeadLetters, kafka_bootstrap: str, reason: str) -> None:
    interaction = an_interaction()
    signal = Signal(event_id="e", tenant="default", user_id="ann", features=[1.0, float("nan")], label=0.5)
    post = Post(post_id="p", tenant="default", text="Soup 🍲")
    client = Rejected(reason=reason, detail="d", source_topic=INTERACTIONS.name, payload=b'{"type": "lik')
    letters = [
        of_record(INTERACTIONS, b"k", encode(interaction), reason),
        of_record(SIGNALS, b"k", encode(signal), reason),
        of_record(POSTS, b"k", encode(post), reason),
        of_record(POSTS, b"k", b"\xff\xfe", reason),
        of_record(POSTS, b"k", None, reason),
        client,
        Rejected(reason=reason, source_topic=INTERACTIONS.name, payload=b'{"type": "lik\x1b", "a": [1]}'),
        Rejected(reason=reason, source_topic=INTERACTIONS.name, payload=b'{"type": "like", "a": [1]}'),
    ]
    found = [log.find(LetterId.parse(place)) for place in write_rejected(kafka_bootstrap, letters)]
    payloads = [letter.payload() for letter in found if letter]
    assert payloads[0]["event_id"] == interaction.event_id
    assert payloads[0]["type"] == "INTERACTION_TYPE_LIKE"
    assert payloads[1]["features"] == [1.0, "NaN"]
    assert payloads[2]["text"] == "Soup 🍲"
    assert payloads[3:6] == [{"hex": "fffe"}, {}, '{"type": "lik']
    assert payloads[6] == '{"type": "lik\x1b", "a": [1]}'
    assert payloads[7] == {"type": "like", "a": [1]}


def test_what_is_shown_to_people_has_no_control_characters(run: Command, kafka_bootstrap: str, reason: str) -> None:
    letter = of_record(INTERACTIONS, b"default/\x1b[2J", b"\x1b[2J", f"{reason}\x1b]0;hi\x07")
    letter.detail = "one\ntwo\u202e"
    (place,) = write_rejected(kafka_bootstrap, [letter])
    for shown in (run("show", place).stdout, run("--limit", "1").stdout):
        assert "\x1b" not in shown
        assert "one\\ntwo\\u202e" in shown


def test_records_are_replayed_under_their_keys_where_they_were_and_what_never_was_one_is_not(
    run: Command, kafka_bootstrap: str, reason: str
) -> None:
    first, second, post = an_interaction(), an_interaction(), Post(post_id=uuid4().hex, tenant="default", text="t")
    letters = [
        of_record(INTERACTIONS, key_of(first), encode(first), reason),
        of_record(POSTS, key_of(post), encode(post), reason),
        Rejected(reason=reason, source_topic=INTERACTIONS.name, payload=b"{}"),
        of_record(INTERACTIONS, key_of(second), encode(second), f"{reason}_second"),
        of_record(INTERACTIONS, b"k", None, f"{reason}_empty"),
    ]
    ids = write_rejected(kafka_bootstrap, letters)

    by_reason = run("replay", "--reason", reason)
    assert by_reason.stdout == "2 replayed, 1 not\n"
    assert f"{ids[2]} not replayed: it was not valid when a client sent it" in by_reason.stderr
    assert document(run("replay", ids[3], "--json")) == {"replayed": 1, "refused": {}}
    refused = run("replay", ids[4], "0-999999999", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout) == {
        "replayed": 0,
        "refused": {ids[4]: "the record was empty", "0-999999999": "it is not there"},
    }

    def values(topic: Topic) -> list[tuple[bytes | None, bytes | None]]:
        return [(record.key, record.value) for record in read_all(kafka_bootstrap, topic)]

    wanted = [(INTERACTIONS, first), (INTERACTIONS, second), (POSTS, post)]
    wait_until(lambda: all(values(topic).count((key_of(record), encode(record))) == 1 for topic, record in wanted))


def test_of_a_signal_the_interaction_is_replayed_where_the_log_has_it(
    run: Command, kafka_bootstrap: str, reason: str
) -> None:
    interaction, gone = an_interaction(), an_interaction()
    (written,) = write(kafka_bootstrap, INTERACTIONS, [(key_of(interaction), encode(interaction))])

    def signal_of(event: Interaction) -> Signal:
        source = Source(partition=written.partition, offset=written.offset)
        names = {name: getattr(event, name) for name in ("event_id", "tenant", "user_id", "post_id")}
        return Signal(source=source, basis="b", **names)

    signals = [signal_of(event) for event in (interaction, gone)]
    write_rejected(kafka_bootstrap, [of_record(SIGNALS, key_of(signal), encode(signal), reason) for signal in signals])
    assert document(run("replay", "--reason", reason, "--json")) == {"replayed": 2, "refused": {}}

    def count(topic: Topic, value: bytes) -> int:
        return sum(record.value == value for record in read_all(kafka_bootstrap, topic))

    wait_until(lambda: count(INTERACTIONS, encode(interaction)) == 2)
    wait_until(lambda: count(SIGNALS, encode(signals[1])) == 1)
    assert count(SIGNALS, encode(signals[0])) == 0


def test_what_a_client_sent_to_the_collector_is_shown_as_json(
    run: Command, log: DeadLetters, kafka_bootstrap: str, tmp_path: Path
) -> None:
    sent = {"event_id": uuid4().hex, "user_id": "ann", "post_id": "p", "type": "adore"}
    server, url = collector_server(tmp_path, kafka_bootstrap)
    with running(server):
        assert httpx.post(f"{url}/v1/events", json={"events": [sent]}, timeout=30).status_code == 422

    def ours() -> list[DeadLetter]:
        return [letter for letter in log.newest(100) if letter.payload() == sent]

    wait_until(lambda: len(ours()) == 1, every_s=0.5)
    shown = document(run("show", str(ours()[0].id), "--json"))
    assert shown["payload"] == sent
    assert (shown["reason"], shown["topic"], shown["replayable"]) == ("invalid_type", INTERACTIONS.name, False)


@pytest.mark.parametrize(
    "words", [("--since", "yesterday"), ("show", "seven"), ("replay", "0"), ("--limit", "0"), ("replay",)]
)
def test_wrong_arguments_are_told(run: Command, words: Sequence[str]) -> None:
    done = run(*words)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_it_says_that_the_broker_is_away(settings: JobsSettings) -> None:
    done = command(settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"}), "rejected")
    assert done.returncode == 1
    assert "no broker answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
