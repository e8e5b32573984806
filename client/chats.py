"""The chats that ask a model for a post: for nobody, with a soft prompt, or with the reader as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from slop.basis import Template
from slop.tensor_wire import torch_base64

Message = dict[str, Any]

LIKED: Final = "Posts that this reader liked:"


def bulleted(texts: Sequence[str]) -> list[str]:
    """Posts as the lines of a list."""
    return [f"- {' '.join(text.split())}" for text in texts]


@dataclass(frozen=True, slots=True)
class Chats:
    """Chats under a template."""

    template: Template

    def under(self, system: Any) -> list[Message]:
        """With any system message."""
        return [{"role": "system", "content": system}, {"role": "user", "content": self.template.request}]

    def plain(self) -> list[Message]:
        """For no reader in particular."""
        return self.under(self.template.plain_system)

    def soft(self, prompt: npt.NDArray[np.float32]) -> list[Message]:
        """Under a soft prompt, (k, d)."""
        return self.under([{"type": "prompt_embeds", "data": torch_base64(prompt)}])

    def told(self, about: Sequence[str]) -> list[Message]:
        """With lines about the reader after the plain system message."""
        return self.under("\n".join([self.template.plain_system, *about]))

    def listed(self, liked: Sequence[str]) -> list[Message]:
        """With the posts that the reader liked in the system message."""
        return self.told([LIKED, *bulleted(liked)]) if liked else self.plain()

    def after(self, liked: Sequence[str]) -> list[Message]:
        """After posts that the reader liked, as if the assistant had written them."""
        system, request = self.plain()
        turns = [turn for text in liked for turn in (request, {"role": "assistant", "content": text})]
        return [system, *turns, request]
