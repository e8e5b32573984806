"""What the engine is asked for and what it answers, in the terms of OpenAI's chat completions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

STREAM_OPTIONS: Final = {"include_usage": True}


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """`n` texts for the same messages. There is no seed: it ends vLLM's CPU engine.

    Attributes:
        messages: as OpenAI has them; a soft prompt is a content part of vLLM's type `prompt_embeds`.
        n: how many texts.
        max_tokens: of each text.
        temperature: 0 takes the likeliest token.
        min_p: tokens less likely than this share of the likeliest one are left out.
        options: more parameters of OpenAI's, handed on as they are (`stop`, `top_p`, `logprobs`, …).
    """

    messages: Sequence[Mapping[str, Any]]
    n: int
    max_tokens: int
    temperature: float
    min_p: float
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_soft_prompt(self) -> bool:
        """Whether a soft prompt stands in any message."""
        contents = [message["content"] for message in self.messages]
        return any(
            part["type"] == "prompt_embeds" for parts in contents if not isinstance(parts, str) for part in parts
        )

    def body(self, model: str, *, stream: bool) -> dict[str, Any]:
        """The request's JSON. A streamed answer is to end with its usage."""
        return {
            **self.options,
            "model": model,
            "messages": self.messages,
            "n": self.n,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "min_p": self.min_p,
            "stream": stream,
            **({"stream_options": STREAM_OPTIONS} if stream else {}),
        }


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens were read and written. A soft prompt counts as many as it has rows."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    def of(cls, usage: Mapping[str, Any] | None) -> "Usage":
        """From the member `usage` of an answer; zero of what it lacks."""
        counts = usage or {}
        return cls(int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0))

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@dataclass(frozen=True, slots=True)
class CompletedText:
    """One text of an answer.

    Attributes:
        text: as the engine wrote it.
        finish_reason: why it ends: `stop` or `length`.
        logprobs: OpenAI's object of its tokens' log-probabilities, where it was asked for.
    """

    text: str
    finish_reason: str = "stop"
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer: `n` texts, in order, and the tokens of all of them."""

    texts: tuple[CompletedText, ...]
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the `index`-th text of a request; the last piece has its `finish_reason`."""

    index: int
    text: str
    finish_reason: str | None = None
    logprobs: Mapping[str, Any] | None = None
