"""Words as a person reads them, also where no spaces stand between them, and the time that reading takes.

Between spaces there is one word (English texts have as many as `text.split()`), unless a script is in it that writes
its words without spaces, or an emoji: ICU then finds the words by its dictionaries (of Chinese, Japanese, Thai, Lao,
Khmer and Burmese; elsewhere by Unicode's UAX #29), and every emoji is a word.

Words are what makes lengths comparable: people read 184 words a minute aloud in each of 17 languages, give or take 29,
Chinese and Japanese among them, but anything from some 250 to 1,000 characters (IReST: Trauzettel-Klosinski and Dietz
2012, Invest. Ophthalmol. Vis. Sci. 53). Silently it is 238 in English, and other languages follow from the words that
the same text has in them (Brysbaert 2019, J. Memory and Language 109).
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

MS_A_WORD: Final = 250.0

# Scripts without spaces between words, with their marks, by block.
_SCRIPTS: Final = (
    "\u2e80-\u2fdf\u3000-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff65-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"  # Han, Kana, Bopomofo
    "\u0e00-\u0eff\ua000-\ua4cf\u0f00-\u0fff"  # Thai, Lao, Yi, Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u1950-\u19ff"  # Burmese, Khmer, Tai Le, New Tai Lue
    "\u1a20-\u1aaf\uaa80-\uaadf\u1b00-\u1b7f\ua980-\ua9df"  # Tai Tham, Tai Viet, Balinese, Javanese
)
# Emoji beyond the Basic Multilingual Plane, those in it that are shown as such, and the mark that makes others so.
_EMOJI: Final = (
    "\U0001f000-\U0001faff\ufe0f\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653\u267f\u2693"
    "\u26a1\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728"
    "\u274c\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55"
)
_UNSPACED: Final = re.compile(f"[{_SCRIPTS}{_EMOJI}]")
_BETWEEN: Final = "\n"  # no part has one, and no word goes beyond one
_SYMBOL: Final = "So"  # emoji are of this category, marks of punctuation are not


def words_of(text: str) -> list[str]:
    """The words in the order of the text, marks of punctuation at their ends included where spaces part them.

    Any text will do; a lone surrogate counts as a mark. The work grows with the text's length alone.
    """
    parts = text.split()
    if text.isascii():
        return parts
    unspaced = [part for part in parts if _UNSPACED.search(part)]
    found = iter(_unspaced(unspaced) if unspaced else ())
    return [word for part in parts for word in (next(found) if _UNSPACED.search(part) else [part])]


def word_count(text: str) -> int:
    """How many words a person reads."""
    return len(words_of(text))


def reading_ms(text: str) -> float:
    """Milliseconds that reading the words takes at 240 a minute."""
    return MS_A_WORD * word_count(text)


def _unspaced(parts: Sequence[str]) -> list[list[str]]:
    """The words of each part, at least one; ICU looks at all parts at once, since beginning costs most."""
    from icu4py.breakers import WordBreaker  # 40 MB that only processes which read texts need

    found: list[list[str]] = [[]]
    for piece in WordBreaker(_BETWEEN.join(parts).encode("utf-8", "replace").decode(), "und"):
        if piece == _BETWEEN:
            found.append([])
        elif is_word(piece):
            found[-1].append(piece)
    return [words or [part] for words, part in zip(found, parts, strict=True)]


def is_word(piece: str) -> bool:
    """Whether it has a letter, a digit or an emoji in it."""
    return any(letter.isalnum() or unicodedata.category(letter) == _SYMBOL for letter in piece)
