import pytest
import torch

from research.rankers import PromptTokens, course
from research.told_model import FrozenModel
from research.tuned_rankers import Tuned, Tuning, lora, prompt_tuning
from tests.told_model import FROZEN, RATED, frozen

TUNINGS = ("prompt tuning", "lora")


def tuned(name: str, model: FrozenModel = FROZEN, seed: int = 0) -> Tuned:
    tuning: Tuning = prompt_tuning(model, rows=5) if name == "prompt tuning" else lora()
    return Tuned(model, tuning, [4], seed)


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
