from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from generation.arm_messages import MANNERS, MOST_CHARACTERS
from generation.contracts import Reason
from generation.prompt_picking import PromptPicker
from generation.reader_state import ReaderState
from generation.settings import Settings
from generation.writing_request import Role, Turn, WritingRequest
from slop.arms import ARMS, Arm, Reads
from tests.basis import profile_of, random_basis

BASIS = random_basis()
PLAIN, REQUEST = BASIS.template.plain_system, BASIS.template.request
PROFILE = profile_of(BASIS, (0, 2, -1, 1))
ASKED = WritingRequest("ada", turns=(Turn(Role.USER, "A rhyme?"),), n=4)


def picker() -> PromptPicker:
    return PromptPicker(BASIS, Settings(_env_file=None), np.random.default_rng(0))


def picked(state: ReaderState, request: WritingRequest = ASKED) -> tuple[Reason, bool, list[list[dict[str, Any]]]]:
    """The reason, whether the profile was used, and the messages of all requests."""
    found = picker().pick(request, state)
    about = found.personalization
    return about.reason, about.applied, [[dict(one) for one in some.request.messages] for some in found.by_prompt]


def chat(system: str, *texts: str) -> list[dict[str, str]]:
    """A system text, then turns of user and assistant."""
    turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 20, texts, strict=False)]
    return [{"role": "system", "content": system}, *turns]


def test_the_table_has_all_arms_and_soft_prompts_are_those_of_the_arms_that_say_so() -> None:
    assert MANNERS.keys() == set(Arm)
    for arm in Arm:
        state = ReaderState(Reason.PERSONALIZED, arm, PROFILE, liked=("one",), crowd=np.array([0.5, 0, 0.5, 0]))
        (*_, requests) = picked(state)
        assert all(not isinstance(messages[0]["content"], str) for messages in requests) == ARMS[arm].soft_prompts


def test_history_is_the_liked_posts_as_turns_before_the_request() -> None:
    state = ReaderState(Reason.PERSONALIZED, Arm.HISTORY, PROFILE, liked=("Older.", "Newer."))
    assert picked(state) == (
        Reason.PERSONALIZED,
        True,
        [chat(PLAIN, REQUEST, "Older.", REQUEST, "Newer.", "A rhyme?")],
    )
    under_a_system_text = replace(ASKED, system="Be brief.", turns=())
    assert picked(state, under_a_system_text)[2] == [chat("Be brief.", REQUEST, "Older.", REQUEST, "Newer.", REQUEST)]


def test_a_long_liked_post_is_cut_between_words() -> None:
    state = ReaderState(Reason.PERSONALIZED, Arm.HISTORY, PROFILE, liked=("word " * 1_000,))
    shown = picked(state)[2][0][2]["content"]
    assert MOST_CHARACTERS - 10 < len(shown) <= MOST_CHARACTERS
    assert shown.endswith("word")


def test_persona_is_the_profile_in_words_after_the_system_text() -> None:
    state = ReaderState(Reason.PERSONALIZED, Arm.PERSONA, PROFILE)
    first, second = (", ".join(BASIS.words[k][:4]) for k in (1, 3))
    about = f"The reader likes: {first}; {second}."
    assert picked(state) == (Reason.PERSONALIZED, True, [chat(f"{PLAIN}\n{about}", "A rhyme?")])
    assert picked(state, replace(ASKED, system="Be brief."))[2] == [chat(f"Be brief.\n{about}", "A rhyme?")]
    assert picked(state, replace(ASKED, system=""))[2] == [chat(about, "A rhyme?")]


def test_the_crowds_prompts_are_the_same_for_all_readers() -> None:
    crowd = np.array([0.0, 0.5, 0.0, 0.5])
    for profile in (None, PROFILE):
        reason, applied, requests = picked(ReaderState(Reason.CROWD, Arm.CROWD, profile, crowd=crowd))
        assert (reason, applied, len(requests)) == (Reason.CROWD, False, 2)


def test_without_any_crowd_the_basis_crowd_direction_counts() -> None:
    direction = np.zeros(BASIS.text_size, np.float32)
    reasons = []
    for liked in (0, 1):
        direction[2] = liked
        basis = replace(BASIS, crowd_direction=direction.copy())
        picker = PromptPicker(basis, Settings(_env_file=None), np.random.default_rng(0))
        reasons.append(picker.pick(ASKED, ReaderState(Reason.CROWD, Arm.CROWD)).personalization.reason)
    assert reasons == [Reason.NO_TASTE, Reason.CROWD]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ReaderState(Reason.PERSONALIZED, Arm.HISTORY, PROFILE), Reason.NO_LIKES),
        (ReaderState(Reason.PERSONALIZED, Arm.PERSONA, profile_of(BASIS, (-1, -1, -1, -1))), Reason.NO_TASTE),
        (ReaderState(Reason.NO_PROFILE, Arm.PERSONA), Reason.NO_PROFILE),
        (ReaderState(Reason.NO_PROFILE, Arm.HISTORY), Reason.NO_PROFILE),
        (ReaderState(Reason.REDIS_UNAVAILABLE, Arm.CROWD), Reason.REDIS_UNAVAILABLE),
        (ReaderState(Reason.UNSAFE_PROFILE, Arm.HISTORY, liked=("one",)), Reason.UNSAFE_PROFILE),
        (ReaderState(Reason.CONTROL, Arm.BASE, PROFILE), Reason.CONTROL),
    ],
)
def test_who_lacks_what_the_arm_reads_gets_plain_posts_with_the_reason(state: ReaderState, reason: Reason) -> None:
    assert picked(state) == (reason, False, [chat(PLAIN, "A rhyme?")])


def test_only_arms_of_the_table_need_the_engine() -> None:
    assert {arm for arm, traits in ARMS.items() if traits.soft_prompts} == {Arm.SOFT, Arm.CROWD}
    assert {arm for arm, traits in ARMS.items() if traits.reads is Reads.LIKED} == {Arm.HISTORY}
