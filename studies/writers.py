"""What studies ask for texts: the stock server (`studies.rest.Engine`), or transformers (`studies.local_writer`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from studies.chats import Message
from studies.metrics import TextScore


@dataclass(frozen=True, slots=True)
class Sampling:
    """How texts are drawn; the same in every arm of a study. `min_p` is what generation is set to."""

    temperature: float = 0.8
    max_tokens: int = 48
    min_p: float = 0.05


@dataclass(frozen=True, slots=True)
class Texts:
    """Posts that were written for one chat, and how many tokens the chat has."""

    posts: list[str]
    prompt_tokens: int


class Writer(Protocol):
    """A frozen language model that writes, past all personalization.

    Attributes:
        model: its name, by which kept texts are told apart.
    """

    model: str

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> Texts:
        """Posts that answer a chat."""

    async def score(self, text: str) -> TextScore:
        """How probable a text is by itself, from its second token on."""
