from typing import Any

import pytest

from generation.completions import Usage
from generation.contracts import Personalization, Reason
from generation.openai.chat import Chat
from generation.openai.contracts import ChatRequest
from generation.writing_request import Role, Turn, WrittenPost, WrittenPosts
from kit.problems import Problem
from slop.arms import Arm

PERSONALIZATION = Personalization(applied=False, reason=Reason.NO_USER, interactions=0, basis="f00d", arm=Arm.BASE)
USER = {"role": "user", "content": "Hi."}


def chat(*messages: dict[str, Any], **more: Any) -> Chat:
    return Chat.of(ChatRequest.model_validate({"model": "slop", "messages": list(messages) or [USER], **more}), 512)


def params(asked: Chat) -> list[str]:
    return [one.param for one in asked.warnings]


def test_a_chat_that_says_nothing_more_leaves_all_to_the_service() -> None:
    request = chat().request
    assert (request.user_id, request.system, request.turns) == (None, "", (Turn(Role.USER, "Hi."),))
    assert (request.n, request.max_tokens, request.temperature, request.strength) == (1, 512, None, 1.0)
    assert request.options == {}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_longest_answer_are_read(name: str) -> None:
    request = chat(**{name: 7}).request
    assert (request.max_tokens, request.may_shorten) == (7, False)
    assert chat().request.may_shorten


def test_system_and_developer_texts_are_one_before_the_turns() -> None:
    parts = {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "short."}]}
    asked = chat({"role": "system", "content": "You are Bob."}, parts, USER, {"role": "assistant", "content": "Hm."})
    assert asked.request.system == "You are Bob.\n\nBe\nshort."
    assert asked.request.turns == (Turn(Role.USER, "Hi."), Turn(Role.ASSISTANT, "Hm."))
    assert params(asked) == []


def test_a_system_text_after_a_turn_is_warned_of() -> None:
    asked = chat(USER, {"role": "system", "content": "Be short."})
    assert asked.request.system == "Be short."
    assert params(asked) == ["messages"]


def test_what_is_handed_on_is_handed_on_as_it_is() -> None:
    options = {"stop": "x", "top_p": 0.5, "logprobs": True, "top_logprobs": 0, "presence_penalty": 0.0}
    assert chat(**options).request.options == options


def test_what_is_ignored_is_warned_of_and_null_is_absent() -> None:
    assert params(chat(seed=1, metadata={"a": "b"}, beam_width=3, store=None)) == ["seed", "metadata", "beam_width"]
    assert params(chat({**USER, "name": "Ada"})) == ["messages[0].name"]


@pytest.mark.parametrize("more", [{"tools": [{}]}, {"response_format": {"type": "json_schema"}}, {"guided_json": {}}])
def test_what_can_not_be_ignored_is_refused_by_its_name(more: dict[str, Any]) -> None:
    with pytest.raises(Problem) as raised:
        chat(**more)
    assert (raised.value.status, raised.value.members["param"]) == (400, *more)


def test_an_answer_has_each_post_with_its_id_and_the_sum_of_the_usage() -> None:
    logprobs = {"content": [{"token": " Rain", "logprob": -0.5}]}
    posts = (WrittenPost("gen-1", " Rain", "stop", logprobs), WrittenPost("gen-2", "", "length"))
    asked = chat(seed=1)
    answer = asked.completion(WrittenPosts(posts, Usage(5, 3) + Usage(2, 1), PERSONALIZATION)).model_dump(mode="json")
    assert answer["id"] == asked.id
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": " Rain", "refusal": None},
            "logprobs": logprobs,
            "finish_reason": "stop",
            "post_id": "gen-1",
        },
        {
            "index": 1,
            "message": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": "length",
            "post_id": "gen-2",
        },
    ]
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    assert answer["system_fingerprint"] == "fp_f00d"
    assert [one["param"] for one in answer["warnings"]] == ["seed"]
