import numpy as np
import pytest

from research.rankers import PromptTokens, course
from research.rankers_in_words import InWords, as_history, as_persona
from tests.told_model import FROZEN, RATED, TEMPLATE, TEXTS, chat, one_by_one


def test_history_is_the_chat_with_the_liked_jokes_as_turns_the_best_one_last() -> None:
    told = as_history(FROZEN, [4, 0])
    found = FROZEN.gains(FROZEN.rows(told.system), [2, 1])
    gained = [one_by_one(chat(0, 4), joke) - one_by_one(chat(), joke) for joke in (2, 1)]
    assert found == pytest.approx(gained, abs=1e-4)
    assert told.kept == (TEXTS[0], TEXTS[4])


def test_history_shows_no_more_than_the_six_best() -> None:
    assert as_history(FROZEN, [0, 1, 2, 3, 4, 5, 0, 1]).kept == TEXTS[::-1]


def test_a_persona_is_what_the_model_itself_says_of_the_liked_jokes() -> None:
    one, other = as_persona(FROZEN, [0]), as_persona(FROZEN, [2])
    assert one == as_persona(FROZEN, [0])
    assert one.kept != other.kept
    assert one.system == f"{TEMPLATE.plain_system} The reader: {one.kept[0]}"
    assert 0 < len(FROZEN.lm.tokens(one.kept[0])) <= 40


def test_a_reader_in_words_is_told_of_at_the_counts_and_costs_its_texts_and_tokens() -> None:
    method = InWords("history", FROZEN, as_history, [2, 4])
    reader = method.reader()
    way = course(RATED, reader, [3, 5], [1, 2, 4])
    assert way.scores[1] == pytest.approx([0, 0], abs=1e-5)
    expected = FROZEN.gains(FROZEN.rows(as_history(FROZEN, [0, 4]).system), [3, 5])
    assert way.scores[4] == pytest.approx(expected, abs=1e-5)
    assert np.abs(way.scores[4] - way.scores[2]).max() > 1e-4
    assert reader.stored_bytes == len((TEXTS[0] + TEXTS[4]).encode())
    size = len(FROZEN.tokenizer(as_history(FROZEN, [0, 4]).system, add_special_tokens=False).input_ids)
    assert reader.tokens == PromptTokens(size, size)
