"""What the engine is asked to write, and what it wrote: kept, so that an interrupted study goes on where it stopped."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from rich.progress import Progress

from slop.basis import Basis
from studies.chats import Message
from studies.folders import KEPT
from studies.writers import Sampling, Texts, Writer

KEPT_TEXTS: Final = KEPT / "topics"


@dataclass(frozen=True, slots=True)
class Order:
    """Posts that answer one chat; `name` tells orders of the same chat apart."""

    name: str
    messages: Sequence[Message]
    posts: int


class Desk:
    """Takes orders; each is written once, and kept in a file of JSON lines."""

    def __init__(self, engine: Writer, kept: Path, progress: Progress) -> None:
        self._engine, self._path, self._progress = engine, kept, progress
        kept.parent.mkdir(parents=True, exist_ok=True)
        lines = kept.read_text().splitlines() if kept.exists() else []
        self._kept = {row["key"]: Texts(row["posts"], row["prompt_tokens"]) for row in map(json.loads, lines)}

    async def written(self, title: str, orders: Sequence[Order], sampling: Sampling) -> list[Texts]:
        """The posts of every order.

        Raises:
            StudyError: the engine stopped answering.
        """
        task = self._progress.add_task(title, total=len(orders))

        async def one(order: Order) -> Texts:
            texts = await self._one(order, sampling)
            self._progress.advance(task)
            return texts

        return await asyncio.gather(*map(one, orders))

    async def _one(self, order: Order, sampling: Sampling) -> Texts:
        asked = [self._engine.model, asdict(sampling), order.name, order.messages, order.posts]
        key = sha256(json.dumps(asked).encode()).hexdigest()[:24]
        if key not in self._kept:
            self._keep(key, await self._engine.write(order.messages, order.posts, sampling))
        return self._kept[key]

    def _keep(self, key: str, texts: Texts) -> None:
        self._kept[key] = texts
        with self._path.open("a") as file:
            file.write(json.dumps({"key": key, **asdict(texts)}) + "\n")


def desk_of(engine: Writer, basis: Basis, progress: Progress) -> Desk:
    """The desk that keeps what was written under a basis."""
    return Desk(engine, KEPT_TEXTS / f"{basis.text_version}.jsonl", progress)
