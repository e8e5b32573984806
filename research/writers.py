"""What studies ask for texts: the stock engine (`client.engine`), or transformers (`research.local_writer`)."""

from collections.abc import Sequence
from typing import Protocol

from client.chats import Message
from client.texts import Sampling, TextScore, WrittenTexts


class Writer(Protocol):
    """A frozen language model that writes without any personalization.

    Attributes:
        model: its name, by which kept texts are told apart.
    """

    model: str

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> WrittenTexts:
        """Posts that answer a chat."""

    async def score(self, text: str) -> TextScore:
        """How probable a text is by itself, from its second token on."""
