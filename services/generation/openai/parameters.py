"""What becomes of each parameter of OpenAI's chat completions that `contracts.ChatRequest` does not read.

docs/api.md has the same as a table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from kit.problems import Problem

SEED: Final = "seed"

IGNORED: Final[Mapping[str, str]] = {
    SEED: "the engine draws without a seed, so the same request may be answered otherwise",
    "metadata": "nothing is stored with an answer",
    "parallel_tool_calls": "no tool is called",
    "prediction": "nothing is predicted",
    "prompt_cache_key": "the engine finds what it has read before by itself",
    "prompt_cache_options": "the engine finds what it has read before by itself",
    "prompt_cache_retention": "the engine finds what it has read before by itself",
    "reasoning_effort": "the model does not reason before it answers",
    "safety_identifier": "the reader is named by `user`",
    "service_tier": "there is one tier",
    "store": "answers can't be fetched again",
    "verbosity": "say in a message how long the answer is to be",
}
"""Parameters whose answer is right without them, each with what the caller is told."""

REFUSED: Final[Mapping[str, tuple[Any, ...]]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "modalities": (["text"],),
    "moderation": (),
    "response_format": ({"type": "text"},),
    "structured_outputs": (),
    "tool_calls": ([],),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "web_search_options": (),
}
"""Parameters, and members of messages, without which the answer would be wrong, with values that ask for nothing."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A parameter that an answer was written without."""

    param: str
    message: str


def ignored(extra: Mapping[str, Any], of: str = "") -> Iterator[Ignored]:
    """Of parameters that nothing reads, those that a caller has to be told of; null is as good as absent.

    Args:
        extra: the parameters.
        of: what comes before their names: `messages[0].` for those of the first message.

    Raises:
        Problem: 400; one of them can't be ignored.
    """
    for name, value in extra.items():
        if value is None:
            continue
        if name in REFUSED:
            if value not in REFUSED[name]:
                detail = f"`{name}` is not supported here"
                raise Problem(HTTPStatus.BAD_REQUEST, detail, param=of + name, code="unsupported_parameter")
        else:
            yield Ignored(of + name, f"ignored: {IGNORED.get(name, 'no such parameter is known here')}")
