import json
from http import HTTPStatus
from typing import Any

import pytest

from generation.completions import Usage
from generation.contracts import Personalization, Reason
from generation.openai.chat import Chat
from generation.openai.chunks import ChatChunks
from generation.openai.parameters import Ignored
from generation.writing_request import PostPiece, WritingRequest, WrittenPost, WrittenPosts
from kit.problems import Problem
from slop.arms import Arm

PERSONALIZATION = Personalization(applied=True, reason=Reason.PERSONALIZED, interactions=3, basis="f00d", arm=Arm.SOFT)
POSTS = WrittenPost("gen-1", "Rain."), WrittenPost("gen-2", "", "length")
WRITTEN = WrittenPosts(POSTS, Usage(5, 3), PERSONALIZATION)
CHAT = Chat(WritingRequest("ada", n=2), "slop", (Ignored("seed", "ignored"),), "chatcmpl-1", 7)


def chunks(*items: PostPiece | WrittenPosts, include_usage: bool = False) -> list[dict[str, Any]]:
    writer = ChatChunks(CHAT, "fp_f00d", include_usage=include_usage)
    *events, done, end = "".join(map(writer.item, items)).split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_the_first_chunk_of_each_choice_has_the_role() -> None:
    first, second, *_ = chunks(PostPiece(0, "Ra"), PostPiece(0, "in.", "stop"), WRITTEN)
    assert first == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "slop",
        "system_fingerprint": "fp_f00d",
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "Ra"},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    }
    assert second["choices"][0]["delta"] == {"content": "in."}


def test_the_reasons_come_once_the_posts_have_ids_and_an_empty_choice_has_its_role_too() -> None:
    _, first, last = chunks(PostPiece(0, "Rain.", "stop"), PostPiece(1, "", "length"), WRITTEN)
    assert [(one["choices"][0]["finish_reason"], one["choices"][0]["post_id"]) for one in (first, last)] == [
        ("stop", "gen-1"),
        ("length", "gen-2"),
    ]
    assert last["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "personalization" not in first
    assert last["personalization"]["applied"]
    assert last["warnings"] == [{"param": "seed", "message": "ignored"}]


def test_the_usage_is_a_chunk_of_its_own_where_it_is_asked_for() -> None:
    *before, last = chunks(PostPiece(0, "Rain.", "stop"), WRITTEN, include_usage=True)
    assert all(one["usage"] is None and "personalization" not in one for one in before)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 8)
    assert last["personalization"]["applied"]


def test_logprobs_come_with_their_pieces() -> None:
    logprobs = {"content": [{"token": "", "logprob": -0.5}]}
    first, *_ = chunks(PostPiece(1, "", logprobs=logprobs), WRITTEN)
    assert first["choices"][0]["logprobs"] == logprobs


@pytest.mark.parametrize("text", ["a\u2028b\x85c", "two\nlines", "data: x\n\n"])
def test_no_text_ends_an_event(text: str) -> None:
    first, *_ = chunks(PostPiece(0, text), WRITTEN)
    assert first["choices"][0]["delta"]["content"] == text


def test_a_failure_is_an_error_document() -> None:
    event = ChatChunks(CHAT, "fp", include_usage=False).problem(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "gone"))
    assert json.loads(event.removeprefix("data: "))["error"]["message"] == "gone"
