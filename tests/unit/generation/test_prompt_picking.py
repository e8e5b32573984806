from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.contracts import Reason
from generation.prompt_picking import PickedPrompts, PromptPicker, style_subject_of
from generation.reader_state import ReaderState
from generation.settings import Settings
from generation.writing_request import Role, Turn, WritingRequest
from slop.arms import Arm
from slop.basis import Basis
from slop.composing import Choice, Pair
from slop.rollout.live import BasisRef
from slop.soft_prompts import UnsafeSoftPrompt
from slop.style_subject import StyleSubjectBasis
from slop.tensor_wire import torch_base64
from tests.basis import profile_of, random_basis, spread_over, style_subject_for
from tests.samples import sample

BASIS = random_basis()
STYLE_SUBJECT = style_subject_for(BASIS, spread_over([(None, 0), (None, 3), (1, None), (2, None)]))
PARTS: dict[str, Choice] = {torch_base64(prompt): k for k, prompt in enumerate(BASIS.prompts)}
PARTS |= {torch_base64(prompt): Pair(*divmod(number, 4)) for number, prompt in enumerate(STYLE_SUBJECT.pairs())}
SETTINGS = Settings(_env_file=None)


def picker(basis: Basis = BASIS, seed: int = 0, style_subject: StyleSubjectBasis | None = None) -> PromptPicker:
    return PromptPicker(basis, SETTINGS, np.random.default_rng(seed), style_subject)


def picker_at(ref: BasisRef, settings: Settings = SETTINGS) -> PromptPicker:
    basis = ref.load()
    return PromptPicker(basis, settings, np.random.default_rng(0), style_subject_of(ref, basis, settings))


def reader(*weights: float) -> ReaderState:
    return ReaderState(Reason.PERSONALIZED, Arm.SOFT, profile_of(BASIS, weights))


def prompt_of(system: Any) -> Choice:
    (part,) = system
    assert part.keys() == {"type", "data"}
    return PARTS[part["data"]]


def drawn(picked: PickedPrompts) -> Counter[Choice]:
    by_prompt = picked.by_prompt
    return Counter({prompt_of(some.request.messages[0]["content"]): some.request.n for some in by_prompt})


def test_a_reader_with_one_taste_gets_one_order_for_all_posts() -> None:
    picked = picker().pick(WritingRequest("ada", n=8), reader(-1, 2, -1, -1))
    assert drawn(picked) == {1: 8}
    assert picked.personalization.applied
    assert picked.personalization.reason == Reason.PERSONALIZED
    assert picked.personalization.interactions == 16


@pytest.mark.parametrize("seed", range(5))
def test_two_equal_tastes_get_equal_shares_of_a_batch(seed: int) -> None:
    picked = picker(seed=seed).pick(WritingRequest("ada", n=8), reader(1, 0, 1, 0))
    assert drawn(picked) == {0: 4, 2: 4}


@settings(max_examples=50)
@given(
    weights=st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4),
    n=st.integers(1, 16),
    strength=st.floats(0.1, 4),
)
def test_every_post_is_ordered_once(weights: list[float], n: int, strength: float) -> None:
    request = WritingRequest("ada", n=n, strength=strength)
    picked = picker().pick(request, reader(*weights))
    assert sorted(post for some in picked.by_prompt for post in some.posts) == list(range(n))
    assert all(some.request.n == len(some.posts) for some in picked.by_prompt)


@settings(max_examples=50)
@given(
    weights=st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4).filter(lambda given: max(given) > 0),
    n=st.integers(1, 16),
    candidates=st.integers(1, 32),
)
def test_candidates_are_under_the_prompts_that_posts_alone_would_be_under(
    weights: list[float], n: int, candidates: int
) -> None:
    alone = picker().pick(WritingRequest("ada", n=n), reader(*weights))
    picked = picker().pick(WritingRequest("ada", n=n, candidates=candidates), reader(*weights))
    assert picked.candidates == max(1, min(candidates, 32 // n))
    assert (picked.profile is None) == (picked.candidates == 1)
    for one, some in zip(alone.by_prompt, picked.by_prompt, strict=True):
        assert some.posts[: len(one.posts)] == one.posts
        assert some.request.messages == one.request.messages
        assert some.request.n == len(some.posts) == picked.candidates * len(one.posts)
    indices = sorted(post for some in picked.by_prompt for post in some.posts)
    assert indices == list(range(picked.candidates * n))


def test_only_posts_of_a_profile_in_the_arm_soft_have_candidates_and_none_at_temperature_0() -> None:
    request, profile = WritingRequest("ada", n=2, candidates=4), profile_of(BASIS, [1, 0, 0, 0])
    crowd = np.array([1.0, 0, 0, 0])
    for state in (
        reader(-1, -1, -1, -1),
        ReaderState(Reason.NO_PROFILE, Arm.SOFT),
        ReaderState(Reason.CONTROL, Arm.BASE, profile),
        ReaderState(Reason.CROWD, Arm.CROWD, profile, crowd=crowd),
    ):
        picked = picker().pick(request, state)
        assert (picked.candidates, sum(some.request.n for some in picked.by_prompt)) == (1, 2)
    assert picker().pick(replace(request, temperature=0), reader(1, 0, 0, 0)).candidates == 1


def test_the_settings_say_how_many_candidates_there_are_where_the_request_leaves_it_to_them() -> None:
    chosen = PromptPicker(BASIS, SETTINGS.model_copy(update={"generation_candidates": 4}), np.random.default_rng(0))
    found = [chosen.candidates_of(WritingRequest("ada", n=n, candidates=asked)) for n, asked in ((1, None), (1, 2))]
    assert found == [4, 2]
    assert chosen.candidates_of(WritingRequest("ada", n=16, candidates=None)) == 2
    assert chosen.candidates_of(WritingRequest("ada")) == 1  # a chat


@pytest.mark.parametrize("seed", range(5))
def test_a_reader_who_likes_a_style_and_a_subject_gets_both_in_every_post(seed: int) -> None:
    request, both = WritingRequest("ada", n=8), reader(1, 0, 1, 0)
    picked = picker(seed=seed, style_subject=STYLE_SUBJECT).pick(request, both)
    assert drawn(picked) == {Pair(1, 0): 8}
    assert picked.composed == 8
    assert picked.personalization == picker().pick(request, both).personalization


def test_several_styles_or_subjects_share_the_composed_posts() -> None:
    picked = picker(style_subject=STYLE_SUBJECT).pick(WritingRequest("ada", n=8), reader(1, 1, 1, 0))
    assert drawn(picked) == {Pair(1, 0): 4, Pair(1, 3): 4}


@pytest.mark.parametrize("weights", [(1, 1, 0, 0), (0, 0, 1, 1), (3, -1, 1, -1)])
def test_readers_of_subjects_or_of_styles_alone_get_the_mixture(weights: tuple[float, ...]) -> None:
    request = WritingRequest("ada", n=8)
    picked = picker(style_subject=STYLE_SUBJECT).pick(request, reader(*weights))
    assert picked == picker().pick(request, reader(*weights))
    assert picked.composed == 0


def test_who_likes_nothing_or_is_not_known_gets_plain_posts_beside_style_subject_prompts_too() -> None:
    for state in (reader(-1, -1, -1, -1), ReaderState(Reason.NO_PROFILE, Arm.SOFT)):
        picked = picker(style_subject=STYLE_SUBJECT).pick(WritingRequest("ada", n=2), state)
        assert picked.by_prompt[0].request.messages[0]["content"] == BASIS.template.plain_system
        assert picked.composed == 0


def test_the_row_norm_of_a_composed_prompt_is_told() -> None:
    before = sample("slop_soft_prompt_row_norm_sum")
    picker(style_subject=STYLE_SUBJECT).pick(WritingRequest("ada", n=8), reader(1, 0, 1, 0))
    told = sample("slop_soft_prompt_row_norm_sum") - before
    assert told == pytest.approx(max(np.linalg.norm(row) for row in STYLE_SUBJECT.prompt(1, 0)))


def test_each_basis_is_drawn_from_with_the_style_subject_prompts_in_its_own_folder(tmp_path: Path) -> None:
    request, both = WritingRequest("ada", n=8), reader(1, 0, 1, 0)
    for name in ("with", "without"):
        BASIS.save(tmp_path / name)
    STYLE_SUBJECT.save(tmp_path / "with")
    assert picker_at(BasisRef.of(tmp_path / "with")).pick(request, both).composed == 8
    assert drawn(picker_at(BasisRef.of(tmp_path / "without")).pick(request, both)) == {0: 4, 2: 4}
    off = Settings(_env_file=None, generation_composed_posts=False)
    assert drawn(picker_at(BasisRef.of(tmp_path / "with"), off).pick(request, both)) == {0: 4, 2: 4}


def test_beside_style_subject_prompts_of_another_basis_the_mixture_is_drawn_from(tmp_path: Path) -> None:
    BASIS.save(tmp_path)
    replace(STYLE_SUBJECT, mixture="another").save(tmp_path)
    picked = picker_at(BasisRef.of(tmp_path)).pick(WritingRequest("ada", n=8), reader(1, 0, 1, 0))
    assert drawn(picked) == {0: 4, 2: 4}


def test_the_largest_row_norm_of_every_soft_prompt_ordered_is_told() -> None:
    before = sample("slop_soft_prompt_row_norm_count"), sample("slop_soft_prompt_row_norm_sum")
    picker().pick(WritingRequest("ada", n=8), reader(1, 0, 1, 0))
    picker().pick(WritingRequest("ada"), reader(-1, -1, -1, -1))
    after = sample("slop_soft_prompt_row_norm_count"), sample("slop_soft_prompt_row_norm_sum")
    norms = [max(np.linalg.norm(row) for row in BASIS.prompts[prompt]) for prompt in (0, 2)]
    assert (after[0] - before[0], after[1] - before[1]) == (2, pytest.approx(sum(norms)))


def exploring(share: float = 0.0, floor: float = 0.0) -> PromptPicker:
    chosen = {"generation_exploration": share, "generation_exploration_floor": floor}
    return PromptPicker(BASIS, SETTINGS.model_copy(update=chosen), np.random.default_rng(0))


def unsure(variance: float) -> ReaderState:
    """A reader of the second prompt, with the same variance of every weight."""
    state = reader(-1, 2, -1, -1)
    assert state.profile is not None
    mean = state.profile.mean
    return replace(state, profile=state.profile.moved(mean, np.full_like(mean, variance), signals=0, at_ms=0))


def test_the_floor_is_the_share_of_posts_that_explore_whatever_is_known() -> None:
    with_floor, others = exploring(floor=0.5), Counter[Choice]()
    for _ in range(20):
        others += drawn(with_floor.pick(WritingRequest("ada", n=16), unsure(4.0)))
    assert sum(others.values()) == 20 * 16
    assert others[1] >= 20 * 8
    assert 20 <= sum(others.values()) - others[1] <= 20 * 8


def test_who_is_known_better_is_explored_less() -> None:
    def others(variance: float) -> int:
        picker = exploring(share=1.0)
        posts = [drawn(picker.pick(WritingRequest("ada", n=16), unsure(variance))) for _ in range(20)]
        return sum(16 - counts[1] for counts in posts)

    assert others(SETTINGS.prior_variance) > others(SETTINGS.prior_variance / 16)


@pytest.mark.parametrize("arm", [Arm.BASE, Arm.CROWD])
def test_only_the_readers_own_arm_explores(arm: Arm) -> None:
    state = ReaderState(Reason.CROWD if arm == Arm.CROWD else Reason.CONTROL, arm, profile_of(BASIS, (-1, 2, -1, -1)))
    picked, plain = (picker.pick(WritingRequest("ada", n=8), state) for picker in (exploring(floor=1.0), exploring()))
    assert [some.request.messages for some in picked.by_prompt] == [some.request.messages for some in plain.by_prompt]


def test_a_higher_strength_leaves_less_to_the_weaker_taste() -> None:
    weaker = {
        strength: drawn(picker().pick(WritingRequest("ada", n=16, strength=strength), reader(1, 0.8, 0, 0)))[1]
        for strength in (0.25, 1.0, 4.0)
    }
    assert weaker[0.25] > weaker[1.0] > weaker[4.0]


def test_a_reader_who_likes_nothing_gets_plain_posts() -> None:
    picked = picker().pick(WritingRequest("ada", n=3), reader(-1, -2, -1, 0))
    (some,) = picked.by_prompt
    assert some.request.messages[0] == {"role": "system", "content": BASIS.template.plain_system}
    assert some.request.n == 3
    assert (picked.personalization.applied, picked.personalization.reason) == (False, Reason.NO_TASTE)


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.PERSONALIZED, Reason.CROWD}))
def test_whatever_the_reason_for_no_profile_posts_are_plain(reason: Reason) -> None:
    state = ReaderState(reason, Arm.BASE, profile_of(BASIS, (1, 1, 1, 1)) if reason == Reason.CONTROL else None)
    picked = picker().pick(WritingRequest("ada"), state)
    assert picked.by_prompt[0].request.messages[0]["content"] == BASIS.template.plain_system
    assert not picked.personalization.applied
    assert picked.personalization.reason == reason


def test_a_request_has_the_last_word_on_how_to_draw_tokens() -> None:
    request = WritingRequest("ada", (Turn(Role.USER, "Write about rain."),), max_tokens=7, temperature=0)
    completion = picker().pick(request, reader(1, 0, 0, 0)).by_prompt[0].request
    assert completion.messages[1] == {"role": "user", "content": "Write about rain."}
    assert (completion.max_tokens, completion.temperature) == (7, 0)


def test_what_is_sent_to_the_engine_has_no_seed() -> None:
    completion = picker().pick(WritingRequest("ada"), reader(1, 0, 0, 0)).by_prompt[0].request
    assert completion.body("slop", stream=False).keys() == {
        *("model", "messages", "n", "max_tokens", "temperature", "min_p", "stream")
    }


def test_the_probe_is_one_token_under_a_prompt_of_the_basis() -> None:
    probe = picker().probe()
    assert (prompt_of(probe.messages[0]["content"]), probe.n, probe.max_tokens) == (0, 1, 1)
    assert probe.has_soft_prompt


def test_only_what_is_written_under_a_prompt_has_a_soft_prompt() -> None:
    for state, has_soft_prompt in ((reader(1, 0, 0, 0), True), (reader(-1, -1, -1, -1), False)):
        (some,) = picker().pick(WritingRequest("ada"), state).by_prompt
        assert some.request.has_soft_prompt == has_soft_prompt


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e4])
def test_a_basis_with_a_prompt_that_harms_the_engine_is_refused_at_start(bad: float) -> None:
    prompts = BASIS.prompts.copy()
    basis = replace(BASIS, prompts=prompts)
    prompts[2, 1, 3] = bad
    with pytest.raises(UnsafeSoftPrompt):
        picker(basis)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e4])
def test_style_subject_prompts_that_harm_the_engine_are_refused_at_start(bad: float) -> None:
    styles = STYLE_SUBJECT.styles.copy()
    style_subject = replace(STYLE_SUBJECT, styles=styles)
    styles[2, 1, 3] = bad
    with pytest.raises(UnsafeSoftPrompt):
        picker(style_subject=style_subject)
