from collections.abc import Sequence

import numpy as np
import pytest
import torch

from research.language_rankers import (
    FrozenModel,
    InWords,
    Tuned,
    Tuning,
    as_history,
    as_persona,
    batches_of_like_length,
    liked,
    lora,
    prompt_tuning,
)
from research.rankers import PromptTokens, course
from slop.basis import Template
from tests.tiny_model import tiny_llama, tiny_tokenizer

TEMPLATE = Template(plain_system="You run", request="write a short post")
TEXTS = (
    "the dog barks over the garden",
    "a star shines",
    "we run and save money and cook soup . we run and save money and cook soup . we run",
    "soil",
    "a dog",
    "the star shines over the garden soil and the dog barks",
)
RATED = [(0, 0.9), (1, -0.5), (4, 0.4), (2, -0.9)]
TUNINGS = ("prompt tuning", "lora")


def frozen() -> FrozenModel:
    tokenizer = tiny_tokenizer()
    return FrozenModel(tiny_llama(len(tokenizer)), tokenizer, TEMPLATE, TEXTS)


FROZEN = frozen()


def tuned(name: str, model: FrozenModel = FROZEN, seed: int = 0) -> Tuned:
    tuning: Tuning = prompt_tuning(model, rows=5) if name == "prompt tuning" else lora()
    return Tuned(model, tuning, [4], seed)


def one_by_one(messages: Sequence[dict[str, str]], joke: int) -> float:
    """The reference: the whole chat as the tokenizer renders it, the joke at its end, and no cache."""
    head = FROZEN.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prefix, tokens = FROZEN.lm.tokens(head), FROZEN.jokes[joke]
    with torch.no_grad():
        logits = FROZEN.transformer(input_ids=torch.cat([prefix, tokens])[None]).logits[0].log_softmax(dim=-1)
    found = logits[len(prefix) - 1 : -1].gather(1, tokens[:, None])
    return float(found.mean())


def chat(*jokes: int) -> list[dict[str, str]]:
    request = {"role": "user", "content": TEMPLATE.request}
    turns = [turn for joke in jokes for turn in (request, {"role": "assistant", "content": TEXTS[joke]})]
    return [{"role": "system", "content": TEMPLATE.plain_system}, *turns, request]


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


def test_told_nothing_all_jokes_gain_nothing() -> None:
    reader = InWords("history", FROZEN, as_history, [4]).reader()
    assert reader.scores([0, 3]) == pytest.approx([0, 0], abs=1e-5)
    assert reader.stored_bytes == 0


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


@pytest.mark.parametrize("name", TUNINGS)
def test_tuning_makes_what_it_was_trained_on_more_likely(name: str) -> None:
    method, jokes = tuned(name), [0, 4]
    gains = method.gains(method.fitted(jokes), jokes)
    assert gains.mean() > 0.005


@pytest.mark.parametrize("name", TUNINGS)
def test_tuning_is_the_same_for_the_same_seed_and_leaves_no_trace_on_the_model(name: str) -> None:
    model = frozen()
    before = model.likelihoods(model.plain, range(6))
    names = list(model.transformer.state_dict())
    first = tuned(name, model).fitted([0, 4, 5])
    tuned(name, model).gains(first, [1])
    again, other = tuned(name, model).fitted([0, 4, 5]), tuned(name, model, seed=1).fitted([0, 4, 5])
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    assert list(model.transformer.state_dict()) == names
    assert model.likelihoods(model.plain, range(6)).tolist() == before.tolist()


def test_an_adapter_is_stored_in_two_bytes_a_weight() -> None:
    for name, weights in (("prompt tuning", 5 * 16), ("lora", 2 * 8 * (16 + 16 + 16 + 8))):
        reader = tuned(name).reader()
        course(RATED, reader, [3], [4])
        assert reader.stored_bytes == 2 * weights


def test_a_tuned_reader_is_trained_at_the_counts_on_what_was_liked() -> None:
    method = tuned("prompt tuning")
    reader = method.reader()
    way = course(RATED, reader, [3, 5], [3, 4])
    assert way.scores[3].tolist() == [0, 0]
    assert way.scores[4] == pytest.approx(method.gains(method.fitted([0, 4]), [3, 5]), abs=1e-6)
    assert reader.tokens == PromptTokens(5, 5)
