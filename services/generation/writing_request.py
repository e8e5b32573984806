"""What is to be written and for whom, whichever API asks for it, and what was written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from generation.callers import NOBODY, Caller
from generation.completions import Usage
from generation.contracts import Personalization


class Role(StrEnum):
    """Whose turn of a chat it is."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of a chat, but the system message."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class WritingRequest:
    """Texts for a reader.

    Attributes:
        user_id: the reader; None: no reader in particular, and the texts are plain.
        turns: the chat so far; where there is none, the basis' default request.
        system: the caller's system text, before which nothing stands; the soft prompt follows it. Empty: there is none.
            None: there is none either, but plain texts have the basis' own.
        n: how many texts.
        candidates: how many texts are written for each of these, if the reader's profile can choose among them; None:
            as the settings say.
        max_tokens: of each; None: as the settings say for posts.
        may_shorten: whether texts may be shorter than that where the model has no room for so much.
        temperature: None: as the settings say.
        strength: below 1 more of the weaker tastes, above 1 more of the strongest.
        options: parameters of OpenAI's for the engine, handed on as they are.
        caller: who has sent the request.
        is_fresh: whether posts are written, none of which the reader is to be served twice.
        exclude_posts: ids of posts that are not to be written, if it is fresh.
        exclude_texts: texts that are not to be written.
    """

    user_id: str | None
    turns: tuple[Turn, ...] = ()
    system: str | None = None
    n: int = 1
    candidates: int | None = 1
    max_tokens: int | None = None
    may_shorten: bool = False
    temperature: float | None = None
    strength: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    caller: Caller = NOBODY
    is_fresh: bool = False
    exclude_posts: tuple[str, ...] = ()
    exclude_texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PostPiece:
    """A streamed piece of the `post`-th text; the last piece of a text has its `finish_reason`."""

    post: int
    text: str
    finish_reason: str | None = None
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class WrittenPost:
    """A text with its id. The published post is the text without blanks around it, or nothing if that is empty."""

    post_id: str
    text: str
    finish_reason: str = "stop"
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class WrittenPosts:
    """All texts of a request, in order.

    Attributes:
        posts: the texts.
        usage: what the engine has read and written for them, drafts that were written again and candidates that were
            not chosen included.
        personalization: what the reader's profile did to them.
    """

    posts: tuple[WrittenPost, ...]
    usage: Usage
    personalization: Personalization
