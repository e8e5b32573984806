import os
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from featurizer.priority import Priority, PrioritySemaphore
from featurizer.text_features import BACKGROUND_NICE, PIECE, PIECE_CHARACTERS, NotEncoded, TextFeatures
from tests.basis import TinyEmbedder
from tests.featurizers import POISON, Floats, HashEncoder

SIZE = 5


def features_with(encoder: HashEncoder, remembered: int = 100, is_live: bool = True) -> TextFeatures:
    return TextFeatures(encoder, SIZE, PrioritySemaphore(), remembered, lambda: is_live)


def test_features_come_in_the_order_of_the_texts_and_identical_texts_are_computed_once() -> None:
    encoder = HashEncoder(SIZE)
    features = features_with(encoder)
    texts = ["a", "b", "a", *(f"text {number}" for number in range(2 * PIECE))]
    for _ in range(2):
        rows = features.of(texts, Priority.REQUEST)
        assert all(np.array_equal(row, encoder.row(text)) for row, text in zip(rows, texts, strict=True))
    assert sorted(encoder.encoded) == sorted(set(texts))
    assert features.remembers("a")


def test_embeddings_come_with_the_features_which_are_remembered_then() -> None:
    encoder = HashEncoder(SIZE)
    features = features_with(encoder)
    found = features.encoded(["a", POISON, "a", "b"], Priority.REQUEST)
    assert found[1] == NotEncoded("ValueError: it can't be encoded")
    for one, text in zip([found[0], *found[2:]], "aab", strict=True):
        assert not isinstance(one, NotEncoded)
        assert np.array_equal(one.features, encoder.row(text))
        assert np.array_equal(one.embedding, TinyEmbedder().embed([text])[0])
    assert sorted(encoder.encoded) == ["a", "b"]
    features.of(["a", "b"], Priority.REACTION)
    assert sorted(encoder.encoded) == ["a", "b"]


def test_only_so_many_texts_are_remembered() -> None:
    encoder = HashEncoder(SIZE)
    features = features_with(encoder, remembered=2)
    features.of(["a", "b", "c"], Priority.REQUEST)
    assert [features.remembers(text) for text in "abc"] == [False, True, True]


def test_a_text_that_can_not_be_encoded_harms_no_other_in_its_piece() -> None:
    encoder = HashEncoder(SIZE)
    good, bad, other = features_with(encoder).of(["good", POISON, "other"], Priority.REACTION)
    assert np.array_equal(good, encoder.row("good"))  # type: ignore[arg-type]
    assert np.array_equal(other, encoder.row("other"))  # type: ignore[arg-type]
    assert bad == NotEncoded("ValueError: it can't be encoded")


@pytest.mark.parametrize("row", [np.full(SIZE, np.nan, np.float32), np.zeros(SIZE + 1, np.float32)])
def test_features_that_can_not_be_used_are_none(row: np.ndarray) -> None:  # type: ignore[type-arg]
    class Broken(HashEncoder):
        def features_and_embeddings(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
            return np.stack([row for _ in texts]), TinyEmbedder().embed(texts)

    [found] = features_with(Broken(SIZE)).of(["a"], Priority.REACTION)
    assert isinstance(found, NotEncoded)


@pytest.mark.parametrize(
    ("priority", "is_live", "nice"),
    [
        (Priority.REACTION, True, 0),
        (Priority.REQUEST, True, 0),
        (Priority.BACKGROUND, True, BACKGROUND_NICE),
        (Priority.REACTION, False, BACKGROUND_NICE),
    ],
)
def test_work_that_nobody_waits_for_gives_way_to_everything_on_the_machine(
    priority: Priority, is_live: bool, nice: int
) -> None:
    found = []

    def note(_: Sequence[str]) -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    usual = os.getpriority(os.PRIO_PROCESS, 0)
    features = features_with(HashEncoder(SIZE, before=note), is_live=is_live)
    features.of(["a"], priority)
    features.close()
    assert found == [max(usual, nice)]


def test_a_reaction_waits_for_one_piece_of_what_others_asked_for_and_no_more() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(texts: Sequence[str]) -> None:
        begun.set()
        assert go_on.wait(20)

    encoder = HashEncoder(SIZE, before=hold)
    features = features_with(encoder)
    asked = [f"asked {number}" for number in range(5 * PIECE)]
    asking = threading.Thread(target=features.of, args=(asked, Priority.REQUEST))
    asking.start()
    assert begun.wait(20)
    reacting = threading.Thread(target=features.of, args=(["reaction"], Priority.REACTION))
    reacting.start()
    while len(features._semaphore._waiting) < 1:
        pass
    go_on.set()
    for thread in (asking, reacting):
        thread.join(20)
    assert encoder.encoded.index("reaction") <= 2 * PIECE


def test_long_texts_are_computed_in_smaller_pieces() -> None:
    pieces: list[int] = []
    encoder = HashEncoder(SIZE, before=lambda texts: pieces.append(len(texts)))
    long = ["a" * PIECE_CHARACTERS, "b" * PIECE_CHARACTERS, *("c" * number for number in range(1, 11))]
    features_with(encoder).of(long, Priority.REQUEST)
    assert pieces == [1, 1, PIECE, PIECE, 10 - 2 * PIECE]
