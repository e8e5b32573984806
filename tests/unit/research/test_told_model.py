import pytest

from research.rankers_in_words import InWords, as_history
from research.told_model import FrozenModel, batches_of_like_length, liked
from tests.told_model import FROZEN, RATED, TEMPLATE, chat, one_by_one


def test_liked_is_the_upper_half_best_first_however_low_it_is() -> None:
    assert liked(RATED) == [0, 4]
    assert liked([(joke, value - 1) for joke, value in RATED]) == [0, 4]
    assert liked([(3, -0.7)]) == [3]
    assert liked([(1, 0.1), (2, 0.1), (3, 0.1)]) == [1, 2, 3]


def test_batches_have_every_joke_once_and_no_more_tokens_than_they_may() -> None:
    lengths = [30, 3, 8, 90, 7, 3]
    batches = batches_of_like_length(range(6), lengths, most=24)
    assert sorted(joke for batch in batches for joke in batch) == list(range(6))
    assert all(len(batch) == 1 or len(batch) * max(lengths[joke] for joke in batch) <= 24 for batch in batches)
    assert len(batches) == 4


def test_jokes_are_read_whole() -> None:
    texts = ["dog " * 90]
    model = FrozenModel(FROZEN.transformer, FROZEN.tokenizer, TEMPLATE, texts)
    assert len(model.jokes[0]) == 91


def test_likelihoods_are_those_of_the_whole_chat_and_in_the_order_asked_for() -> None:
    asked = [5, 0, 3, 2]
    found = FROZEN.likelihoods(FROZEN.plain, asked)
    assert found == pytest.approx([one_by_one(chat(), joke) for joke in asked], abs=1e-4)


def test_told_nothing_all_jokes_gain_nothing() -> None:
    reader = InWords("history", FROZEN, as_history, [4]).reader()
    assert reader.scores([0, 3]) == pytest.approx([0, 0], abs=1e-5)
    assert reader.stored_bytes == 0
