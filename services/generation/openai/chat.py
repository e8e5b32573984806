"""From a chat to what the writer is asked for, and from what was written to OpenAI's answer."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Final

from generation.completions import Usage
from generation.openai.contracts import (
    AnswerMessage,
    ChatCompletion,
    ChatRequest,
    Choice,
    MessageRole,
    UsageCounts,
    Warned,
)
from generation.openai.parameters import Ignored, ignored
from generation.writing_request import Role, Turn, WritingRequest, WrittenPosts

_SYSTEM: Final = frozenset({MessageRole.SYSTEM, MessageRole.DEVELOPER})
_HANDED_ON: Final = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "presence_penalty",
    "stop",
    "top_logprobs",
    "top_p",
)


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat that can be answered.

    Attributes:
        request: what the writer is asked for.
        model: the name by which the caller asked.
        warnings: parameters that are ignored.
        id: of the answer.
        created: when it was asked, in seconds since the epoch.
    """

    request: WritingRequest
    model: str
    warnings: tuple[Ignored, ...] = ()
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(cls, body: ChatRequest, default_max_tokens: int) -> "Chat":
        """From the body of a request.

        Raises:
            Problem: 400; it has a parameter that can't be ignored.
        """
        warnings = list(ignored(body.model_extra or {}))
        for at, message in enumerate(body.messages):
            warnings += ignored(message.model_extra or {}, of=f"messages[{at}].")
        if _has_late_system_text(body):
            warnings.append(Ignored("messages", "a system text after the first turn was moved to the beginning"))
        return cls(_writing_request(body, default_max_tokens), body.model, tuple(warnings))

    def completion(self, written: WrittenPosts) -> ChatCompletion:
        """The whole answer."""
        choices = [
            Choice(
                index=index,
                message=AnswerMessage(content=post.text),
                logprobs=None if post.logprobs is None else dict(post.logprobs),
                finish_reason=post.finish_reason,
                post_id=post.post_id,
            )
            for index, post in enumerate(written.posts)
        ]
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            system_fingerprint=fingerprint_of(written.personalization.basis),
            choices=choices,
            usage=counts_of(written.usage),
            personalization=written.personalization,
            warnings=self.warned,
        )

    @property
    def warned(self) -> list[Warned]:
        """The warnings as an answer tells them."""
        return [Warned(param=one.param, message=one.message) for one in self.warnings]


def fingerprint_of(basis: str) -> str:
    """What stands for all that an answer is written with, by the basis' version: OpenAI's `system_fingerprint`."""
    return f"fp_{basis}"


def counts_of(usage: Usage) -> UsageCounts:
    """OpenAI's usage."""
    return UsageCounts(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def _writing_request(body: ChatRequest, default_max_tokens: int) -> WritingRequest:
    max_tokens = body.max_completion_tokens or body.max_tokens
    options = {name: value for name in _HANDED_ON if (value := getattr(body, name)) is not None}
    return WritingRequest(
        user_id=body.user,
        turns=tuple(Turn(Role(m.role), m.text) for m in body.messages if m.role not in _SYSTEM),
        system="\n\n".join(m.text for m in body.messages if m.role in _SYSTEM),
        n=body.n or 1,
        max_tokens=max_tokens or default_max_tokens,
        may_shorten=max_tokens is None,
        temperature=body.temperature,
        strength=1.0 if body.strength is None else body.strength,
        options=options,
    )


def _has_late_system_text(body: ChatRequest) -> bool:
    are_system = [message.role in _SYSTEM for message in body.messages]
    return are_system != sorted(are_system, reverse=True)
