"""What an engine's answers say, and whether they are what was asked for."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from generation.completions import CompletedText, Completion, Delta, Usage
from kit.problems import Problem

_REASONING: Final = ("reasoning_content", "reasoning")  # vLLM's names of what a model thinks before it writes


def completion_of(answer: Mapping[str, Any], n: int) -> Completion:
    """The n texts of an answer, in order.

    Raises:
        Problem: 502, a text is missing, and why.
        ValueError, LookupError, TypeError, AttributeError: it is no answer of OpenAI's API.
    """
    choices = {choice["index"]: choice for choice in answer["choices"]}
    _require_all(choices.keys(), n)
    return Completion(tuple(_text(choices[index]) for index in range(n)), Usage.of(answer.get("usage")))


class StreamedAnswer:
    """An answer of n texts whose chunks come one after the other."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._begun, self._written, self._thought = set[int](), set[int](), set[int]()

    def deltas(self, chunk: Mapping[str, Any]) -> list[Delta]:
        """The pieces of texts in a chunk; those without text and without a reason why the text ends are left out.

        Raises:
            Problem: 502, a text was not asked for.
            ValueError, LookupError, TypeError, AttributeError: it is no chunk of OpenAI's API.
        """
        deltas = list[Delta]()
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice["delta"]
            if not 0 <= index < self._n:
                raise _bad(f"a piece of text {index} came, of {self._n} that were asked for")
            self._begun.add(index)
            if _has_thought(delta):
                self._thought.add(index)
            text, reason = delta.get("content") or "", choice.get("finish_reason")
            if text:
                self._written.add(index)
            if text or reason:
                deltas.append(Delta(index, text, reason, choice.get("logprobs")))
        return deltas

    def end(self) -> None:
        """All chunks have come.

        Raises:
            Problem: 502, a text is missing, and why.
        """
        _require_all(self._begun, self._n)
        if self._thought - self._written:
            raise _only_thought()


def _text(choice: Mapping[str, Any]) -> CompletedText:
    message, reason = choice["message"], str(choice.get("finish_reason") or "stop")
    if message["content"] is None:
        raise _only_thought() if _has_thought(message) else _bad(f"a text is null; it ends by `{reason}`")
    return CompletedText(str(message["content"]), reason, choice.get("logprobs"))


def _has_thought(message: Mapping[str, Any]) -> bool:
    return any(message.get(name) for name in _REASONING)


def _require_all(indices: Any, n: int) -> None:
    if set(indices) != set(range(n)):
        raise _bad(f"{len(set(indices) & set(range(n)))} texts came, of {n} that were asked for")


def _only_thought() -> Problem:
    return _bad("the model thinks, and had no tokens left to write a text: let it answer without thinking")


def _bad(reason: str) -> Problem:
    return Problem(HTTPStatus.BAD_GATEWAY, f"the engine's answer can't be used: {reason}", code="engine_answer")
