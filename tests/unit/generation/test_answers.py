from typing import Any

import pytest

from generation.answers import StreamedAnswer, completion_of
from generation.completions import CompletedText, Delta, Usage
from kit.problems import Problem


def choice(index: int, content: str | None, **more: Any) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": content} | more, "finish_reason": "length"}


def chunk(index: int, reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def test_the_texts_are_in_order_whatever_order_they_come_in() -> None:
    answer = {"choices": [choice(1, "b"), choice(0, "")], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    completion = completion_of(answer, 2)
    assert completion.texts == (CompletedText("", "length"), CompletedText("b", "length"))
    assert completion.usage == Usage(3, 2)


@pytest.mark.parametrize(
    "choices", [[], [choice(0, "a")], [choice(0, "a"), choice(0, "b")], [choice(0, "a"), choice(2, "b")]]
)
def test_too_few_texts_are_a_502_that_counts_them(choices: list[dict[str, Any]]) -> None:
    with pytest.raises(Problem, match="of 2 that were asked for") as raised:
        completion_of({"choices": choices}, 2)
    assert raised.value.status == 502


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_model_that_only_thinks_is_a_502_that_says_so(name: str) -> None:
    with pytest.raises(Problem, match="the model thinks"):
        completion_of({"choices": [choice(0, None, **{name: "Let me see."})]}, 1)
    answer = StreamedAnswer(1)
    assert answer.deltas(chunk(0, **{name: "Let me see."})) == []
    assert answer.deltas(chunk(0, "length")) == [Delta(0, "", "length")]
    with pytest.raises(Problem, match="the model thinks") as raised:
        answer.end()
    assert raised.value.status == 502


def test_a_null_is_a_502_and_never_a_post_without_text() -> None:
    with pytest.raises(Problem, match="null") as raised:
        completion_of({"choices": [choice(0, None)]}, 1)
    assert raised.value.status == 502


def test_a_model_that_thinks_and_then_writes_is_served() -> None:
    assert completion_of({"choices": [choice(0, "Rain.", reasoning_content="Hm.")]}, 1).texts[0].text == "Rain."
    answer = StreamedAnswer(1)
    deltas = [*answer.deltas(chunk(0, reasoning="Hm.")), *answer.deltas(chunk(0, "stop", content="Rain."))]
    answer.end()
    assert deltas == [Delta(0, "Rain.", "stop")]


def test_a_stream_without_one_of_its_texts_or_with_one_too_many_is_a_502() -> None:
    answer = StreamedAnswer(2)
    answer.deltas(chunk(0, "stop", content="a"))
    with pytest.raises(Problem, match="1 texts came, of 2"):
        answer.end()
    with pytest.raises(Problem, match="text 2"):
        answer.deltas(chunk(2, content="a"))


@pytest.mark.parametrize("answer", [{}, {"choices": None}, {"choices": [None]}, {"choices": [{"index": 0}]}, []])
def test_what_is_no_answer_is_told_apart(answer: Any) -> None:
    with pytest.raises((LookupError, TypeError)):
        completion_of(answer, 1)
