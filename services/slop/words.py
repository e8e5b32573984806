"""The words of a text in any language, and the time that reading them takes.

A part between spaces is one word, as of `text.split()`, unless it has an emoji in it or a script that is written
without spaces. Then ICU finds its words: by dictionaries for Chinese, Japanese, Thai, Lao, Khmer and Burmese, else by
the rules of Unicode's UAX #29. Every emoji is a word.

Lengths are counted in words since these are comparable between languages. Aloud, people read 184 words a minute, with a
standard deviation of 29, in 17 languages with Chinese and Japanese among them; in characters it is from about 250 to
1,000 a minute (IReST: Trauzettel-Klosinski and Dietz 2012, Invest. Ophthalmol. Vis. Sci. 53). Silently they read 238
words a minute in English; for other languages it follows from how many words the same text has in them (Brysbaert 2019,
J. Memory and Language 109).
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

MS_A_WORD: Final = 250.0

# Blocks of Unicode with scripts that have no spaces between words, and with their marks.
_SCRIPTS: Final = (
    "\u2e80-\u2fdf\u3000-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff65-\uff9f"
    "\U0001aff0-\U0001b16f\U00020000-\U0003ffff"  # Han, Kana, Bopomofo
    "\u0e00-\u0eff\ua000-\ua4cf\u0f00-\u0fff"  # Thai, Lao, Yi, Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u1950-\u19ff"  # Burmese, Khmer, Tai Le, New Tai Lue
    "\u1a20-\u1aaf\uaa80-\uaadf\u1b00-\u1b7f\ua980-\ua9df"  # Tai Tham, Tai Viet, Balinese, Javanese
)
# Emoji beyond the Basic Multilingual Plane; those in it that are shown as emoji; and the mark that makes others emoji.
_EMOJI: Final = (
    "\U0001f000-\U0001faff\ufe0f\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653\u267f\u2693"
    "\u26a1\u26aa\u26ab\u26bd\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728"
    "\u274c\u274e\u2753-\u2755\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55"
)
_UNSPACED: Final = re.compile(f"[{_SCRIPTS}{_EMOJI}]")
_BETWEEN: Final = "\n"  # put between parts: none contains it, and no word extends over it
_SYMBOL: Final = "So"  # the category of Unicode that emoji are in, and punctuation is not


def words_of(text: str) -> list[str]:
    """The words of a text, in order. Those between spaces include the punctuation at their ends.

    Any string is a valid text; a lone surrogate counts as punctuation. The time is linear in the text's length.
    """
    parts = text.split()
    if text.isascii():
        return parts
    unspaced = [part for part in parts if _UNSPACED.search(part)]
    found = iter(_unspaced(unspaced) if unspaced else ())
    return [word for part in parts for word in (next(found) if _UNSPACED.search(part) else [part])]


def word_count(text: str) -> int:
    """The number of words of a text."""
    return len(words_of(text))


def reading_ms(text: str) -> float:
    """The time that reading a text takes, in milliseconds: MS_A_WORD for each word, which is 240 a minute."""
    return MS_A_WORD * word_count(text)


def _unspaced(parts: Sequence[str]) -> list[list[str]]:
    """The words of each part, at least one. ICU gets all parts in one call, since each call costs most at its start."""
    from icu4py.breakers import WordBreaker  # takes 40 MB of memory, which only processes that read texts need

    found: list[list[str]] = [[]]
    for piece in WordBreaker(_BETWEEN.join(parts).encode("utf-8", "replace").decode(), "und"):
        if piece == _BETWEEN:
            found.append([])
        elif is_word(piece):
            found[-1].append(piece)
    return [words or [part] for words, part in zip(found, parts, strict=True)]


def is_word(piece: str) -> bool:
    """Whether a piece of text contains a letter, a digit or an emoji."""
    return any(letter.isalnum() or unicodedata.category(letter) == _SYMBOL for letter in piece)
