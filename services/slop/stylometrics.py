"""Stylometrics: some two dozen numbers that say how a text is written, and not what it is about."""

import math
import re
import unicodedata
from typing import Final

from slop.words import is_word, words_of

_WORD: Final = re.compile(r"[\w']+")
_PATTERNS: Final = {
    "first person": r"\b(i|i'm|i've|my|me|mine|we|our|us)\b",
    "second person": r"\b(you|your|yours)\b",
    "third person": r"\b(he|she|they|his|her|their|them|it)\b",
    "past": r"\b(was|were|had|did|\w+ed)\b",
    "present": r"\b(is|are|am|has|do|does)\b",
    "future": r"\b(will|going to|'ll)\b",
    "modal": r"\b(can|could|should|would|must|may)\b",
    "negation": r"\b(no|not|never|n't|nothing)\b",
    "question word": r"\b(what|why|how|who|where|when|which)\b",
    "connective": r"\b(and|but|because|so|then|or)\b",
    "article": r"\b(a|an|the)\b",
    "number": r"\d+",
}
_MARKS: Final = {
    "question mark": "?",
    "exclamation": "!",
    "comma": ",",
    "period": ".",
    "colon": ":",
    "hash": "#",
    "quote": '"',
    "newline": "\n",
    "dash": "-",
}
# Marks of other scripts that mean the same as those above. Of the Latin script only marks on a keyboard are counted.
_SAME_MARKS: Final = str.maketrans("？؟！，、،。｡।։：＃「」『』", "??!,,,....:#" + 4 * '"')
_OTHERS: Final = ("words", "word length", "upper case", "beyond ASCII", "lower-case start")

MEASURES: Final = (*_PATTERNS, *_MARKS, *_OTHERS)


def stylometrics(text: str) -> list[float]:
    """The measures of a text, in the order of MEASURES; all are finite.

    - For each pattern, the number of its matches divided by that of words.
    - For each mark, log(1 + its number).
    - The logarithm of the number of words (at least 1), and their mean length in characters.
    - The share of letters in upper case, and the share of characters beyond ASCII.
    - 1 if the text begins in lower case, else 0.
    """
    words = [word for part in words_of(text) for word in _within(part)]
    count = max(len(words), 1)
    letters = [c for c in text if c.isalpha()]
    lower, marks = text.lower(), text.translate(_SAME_MARKS)
    return [
        *(len(re.findall(pattern, lower)) / count for pattern in _PATTERNS.values()),
        *(math.log1p(marks.count(mark)) for mark in _MARKS.values()),
        math.log(count),
        sum(map(len, words)) / count,
        sum(c.isupper() for c in letters) / max(len(letters), 1),
        sum(not c.isascii() for c in text) / max(len(text), 1),
        float(text[:1].islower()),
    ]


def _within(part: str) -> list[str]:
    """The words of a part between spaces: hyphens separate them, combining marks do not, and an emoji is a word."""
    if not part.isascii():
        part = "".join(letter for letter in part if not unicodedata.category(letter).startswith("M"))
    return _WORD.findall(part) or ([part] if is_word(part) else [])
