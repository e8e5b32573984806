"""The classes of the catalogue's posts, and detectors of them; what builds a basis never imports this."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CLASSES_FILE = Path(__file__).parent / "data" / "classes.toml"

_EXCLAMATIONS = 3
_HASHTAGS = 3


@dataclass(frozen=True, slots=True)
class PostClass:
    """One topic or style: what is asked for, and hand-written examples as (subject, post) pairs."""

    name: str
    kind: str
    description: str
    subjects: tuple[str, ...]
    shots: tuple[tuple[str, str], ...]
    words: tuple[str, ...] = ()


@cache
def load_classes() -> dict[str, PostClass]:
    """All classes by name, topics first."""
    spec = tomllib.loads(CLASSES_FILE.read_text())
    topics = {
        name: PostClass(
            name=name,
            kind="topic",
            description=topic["description"],
            subjects=tuple(topic["aspects"]),
            shots=tuple((topic["description"], shot) for shot in topic["shots"]),
            words=tuple(topic["words"].split()),
        )
        for name, topic in spec["topics"].items()
    }
    styles = {
        name: PostClass(
            name=name,
            kind="style",
            description=style["description"],
            subjects=tuple(spec["everyday"]),
            shots=tuple((subject, post) for subject, post in style["shots"]),
        )
        for name, style in spec["styles"].items()
    }
    return topics | styles


def topic_hits(text: str) -> dict[str, int]:
    """For each topic, how many of its detector words begin a word of the post."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    return {
        topic.name: sum(any(word.startswith(stem) for word in words) for stem in topic.words)
        for topic in load_classes().values()
        if topic.kind == "topic"
    }


def _is_question(text: str) -> bool:
    return text.endswith("?") and text.count("?") >= 1 and text.count(".") == 0


def _is_excited(text: str) -> bool:
    return text.count("!") >= _EXCLAMATIONS


def _is_list(text: str) -> bool:
    return [bool(re.match(rf"{number}[.)] ", line)) for number, line in enumerate(text.split("\n"), 1)].count(True) >= 3


def _is_hashtags(text: str) -> bool:
    return len(re.findall(r"#\w+", text)) >= _HASHTAGS


def _is_verse(text: str) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    short = all(len(line.split()) <= 9 for line in lines)
    return len(lines) >= 3 and short and not re.search(r"[#!]|\d[.)]", text)


def _is_confession(text: str) -> bool:
    return text.lower().startswith("confession") and bool(re.search(r"\b(I|my|me)\b", text))


STYLE_DETECTORS: dict[str, Callable[[str], bool]] = {
    "question": _is_question,
    "excited": _is_excited,
    "list": _is_list,
    "hashtags": _is_hashtags,
    "verse": _is_verse,
    "confession": _is_confession,
}


def detected_styles(text: str) -> set[str]:
    """The styles whose detectors match a post."""
    return {name for name, detect in STYLE_DETECTORS.items() if detect(text)}


def detected_topic(text: str, minimum: int = 1) -> str | None:
    """The topic with the most detector words, or None below `minimum` different ones or at a tie."""
    hits = sorted(topic_hits(text).items(), key=lambda item: -item[1])
    (best, most), (_, second) = hits[0], hits[1]
    return best if most >= minimum and most > second else None
