"""What a study has the engine write, kept in a file: an interrupted study goes on where it stopped."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from rich.progress import Progress

from client.chats import Message
from client.texts import Sampling, WrittenTexts
from research.folders import KEPT
from research.writers import Writer
from slop.basis import Basis

KEPT_TEXTS: Final = KEPT / "topics"


@dataclass(frozen=True, slots=True)
class WritingTask:
    """Posts that answer one chat; `name` tells tasks of the same chat apart."""

    name: str
    messages: Sequence[Message]
    posts: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Posts that are written again, as generation does it.

    Attributes:
        refused: whether a post is.
        rewrites: how often.
    """

    refused: Callable[[str], bool]
    rewrites: int


class CachedWriter:
    """Writes each task once, and keeps its texts in a file of JSON lines.

    Attributes:
        rewritten: posts that took the place of one that was refused.
    """

    def __init__(self, engine: Writer, kept: Path, progress: Progress, refusal: Refusal | None = None) -> None:
        self._engine, self._path, self._progress, self._refusal = engine, kept, progress, refusal
        self.rewritten: set[str] = set()
        kept.parent.mkdir(parents=True, exist_ok=True)
        lines = kept.read_text().splitlines() if kept.exists() else []
        self._kept = {row["key"]: WrittenTexts(row["posts"], row["prompt_tokens"]) for row in map(json.loads, lines)}

    async def written(self, title: str, tasks: Sequence[WritingTask], sampling: Sampling) -> list[WrittenTexts]:
        """The posts of every task.

        Raises:
            UserError: the engine stopped answering.
        """
        shown = self._progress.add_task(title, total=len(tasks))

        async def one(task: WritingTask) -> WrittenTexts:
            texts = await self._accepted(task, sampling)
            self._progress.advance(shown)
            return texts

        return await asyncio.gather(*map(one, tasks))

    async def _accepted(self, task: WritingTask, sampling: Sampling) -> WrittenTexts:
        texts = await self._one(task, sampling)
        if self._refusal is None:
            return texts
        posts = list(texts.posts)
        for number in range(1, self._refusal.rewrites + 1):
            refused = [at for at, post in enumerate(posts) if self._refusal.refused(post)]
            if not refused:
                break
            again = await self._one(replace(task, name=f"{task.name}/again {number}", posts=len(refused)), sampling)
            for at, post in zip(refused, again.posts, strict=True):
                posts[at] = post
            self.rewritten.update(again.posts)
        return replace(texts, posts=posts)

    async def _one(self, task: WritingTask, sampling: Sampling) -> WrittenTexts:
        asked = [self._engine.model, asdict(sampling), task.name, task.messages, task.posts]
        key = sha256(json.dumps(asked).encode()).hexdigest()[:24]
        if key not in self._kept:
            self._keep(key, await self._engine.write(task.messages, task.posts, sampling))
        return self._kept[key]

    def _keep(self, key: str, texts: WrittenTexts) -> None:
        self._kept[key] = texts
        with self._path.open("a") as file:
            file.write(json.dumps({"key": key, **asdict(texts)}) + "\n")


def cached_writer(engine: Writer, basis: Basis, progress: Progress, refusal: Refusal | None = None) -> CachedWriter:
    """The writer whose file has what was written under the prompts of a basis, whatever its features of posts are."""
    return CachedWriter(engine, KEPT_TEXTS / f"{basis.prompts_version}.jsonl", progress, refusal)
