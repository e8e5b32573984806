"""A streamed answer as OpenAI's chunks: unnamed server-sent events, and `[DONE]` at the end.

`post_id` stands beside each choice's `finish_reason`, once the post is known to the featurizer. The last chunk has
`personalization` and `warnings`; it is the one with the usage where that was asked for.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from generation.engine import STREAM_END
from generation.events import Item
from generation.openai.chat import Chat, counts_of
from generation.openai.errors import error_of
from generation.writing_request import PostPiece, WrittenPosts
from kit.problems import Problem


class ChatChunks:
    """Writes the events of one answer."""

    def __init__(self, chat: Chat, fingerprint: str, *, include_usage: bool) -> None:
        """Begin an answer; `fingerprint` is of the basis that it is written under."""
        self._chat, self._include_usage = chat, include_usage
        self._begun: set[int] = set()
        self._head = {
            "id": chat.id,
            "object": "chat.completion.chunk",
            "created": chat.created,
            "model": chat.model,
            "system_fingerprint": fingerprint,
        }

    def item(self, item: Item) -> str:
        """The chunks of a piece; or those that end the answer."""
        chunks = self._ends(item) if isinstance(item, WrittenPosts) else self._pieces(item)
        events = "".join(_event(self._head | chunk) for chunk in chunks)
        return f"{events}data: {STREAM_END}\n\n" if isinstance(item, WrittenPosts) else events

    def problem(self, problem: Problem) -> str:
        """An error in the place of a chunk."""
        return f"data: {error_of(problem).model_dump_json()}\n\n"

    def _pieces(self, piece: PostPiece) -> Iterator[dict[str, Any]]:
        if piece.text or piece.logprobs:
            yield self._chunk(self._choice(piece.post, {"content": piece.text}, piece.logprobs))

    def _ends(self, written: WrittenPosts) -> Iterator[dict[str, Any]]:
        said = {
            "personalization": written.personalization.model_dump(mode="json"),
            "warnings": [one.model_dump() for one in self._chat.warned],
        }
        for index, post in enumerate(written.posts):
            choice = self._choice(index, {}) | {"finish_reason": post.finish_reason, "post_id": post.post_id}
            is_last = index + 1 == len(written.posts) and not self._include_usage
            yield self._chunk(choice) | (said if is_last else {})
        if self._include_usage:
            yield {"choices": [], "usage": counts_of(written.usage).model_dump()} | said

    def _choice(self, index: int, delta: dict[str, Any], logprobs: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", "content": ""} | delta
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {"choices": [choice]} | ({"usage": None} if self._include_usage else {})


def _event(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False, separators=(',', ':'))}\n\n"
