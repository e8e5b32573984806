"""Near-copies: texts of which at least half of the words stand, in one run, in a post that the basis was trained on.

These known posts are kept beside the basis, as hashes of their words.
"""

import re
import zlib
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import structlog
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

Words = npt.NDArray[np.uint32]

KNOWN_FILE: Final = "known.safetensors"
WORDS_DIGEST_BYTES: Final = 6  # of a text; two of a few hundred texts have the same in one of 10**9 such sets
_END: Final = 0  # the hash after each post; no word has it
_NOWHERE: Final = np.empty(0, np.intp)
_LAST_WORD: Final = re.compile(r"\w*\Z")

log = structlog.get_logger(__name__)


class KnownPosts:
    """The known posts; tells whether a text is a near-copy of one."""

    def __init__(self, words: Words) -> None:
        """From (N,) uint32, the hashes of the words of all posts in order, with a 0 after each post."""
        self._words = words
        order = np.argsort(words, kind="stable")
        hashes, first = np.unique(words[order], return_index=True)
        places = np.split(order, first[1:])  # one, that is empty, if there are no words
        self._places: dict[int, npt.NDArray[np.intp]] = dict(zip(hashes.tolist(), places, strict=False))

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """From the texts of posts."""
        return cls(np.array([word for text in texts for word in (*_hashes(text), _END)], dtype=np.uint32))

    def __len__(self) -> int:
        """How many words they have together, and posts."""
        return len(self._words)

    def are_copied_by(self, text: str) -> bool:
        """Whether a text is a near-copy of a known post; a text without words is none."""
        words = _hashes(text)
        return bool(words) and 2 * self.longest_run(words) >= len(words)

    def longest_run(self, words: Iterable[int]) -> int:
        """How many of the hashes stand in one run in a known post: the length of the longest common substring."""
        run = CommonRun(self)
        for word in words:
            run.add(word)
        return run.longest

    def places(self, word: int) -> npt.NDArray[np.intp]:
        """The places of a hash in the known posts, in rising order."""
        return self._places.get(word, _NOWHERE)

    def save(self, folder: Path) -> None:
        """Write known.safetensors into the folder of a basis."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"words": self._words}, folder / KNOWN_FILE)

    @classmethod
    def beside(cls, folder: Path) -> Self:
        """The known posts of the basis in a folder; none if the file is missing or not usable.

        If it is not usable an error is logged, and posts are served unchecked.
        """
        path = folder / KNOWN_FILE
        if not path.exists():
            return cls.of([])
        try:
            return cls(load_file(path)["words"].astype(np.uint32))
        except (SafetensorError, OSError, KeyError) as error:
            log.error("known_posts_unused", file=str(path), error=repr(error))
            return cls.of([])


class CommonRun:
    """The longest run of words that a text shares with a known post, while the text grows word by word.

    By dynamic programming, as for the longest common substring: for the last word, `ends` are the places of all equal
    hashes in the known posts, and `runs` the lengths of the common runs that end there. A run goes on where the place
    before is among the former ends.

    Attributes:
        longest: its length so far, in words.
    """

    def __init__(self, known: KnownPosts) -> None:
        self.longest = 0
        self._known, self._ends, self._runs = known, _NOWHERE, _NOWHERE

    def add(self, word: int) -> None:
        """The text goes on with a word of this hash."""
        places = self._known.places(word)
        lengths = np.ones(places.size, np.intp)
        if places.size and self._ends.size:
            before = self._ends.searchsorted(places - 1)
            goes_on = before < self._ends.size
            goes_on[goes_on] = self._ends[before[goes_on]] == places[goes_on] - 1
            lengths[goes_on] += self._runs[before[goes_on]]
        self._ends, self._runs = places, lengths
        if places.size:
            self.longest = max(self.longest, int(lengths.max()))


class GrowingText:
    """Tells of a text that comes in pieces whether it is a near-copy so far.

    Attributes:
        words: how many whole words it has; the last one is whole when another character follows it.
    """

    def __init__(self, known: KnownPosts) -> None:
        self.words = 0
        self._run, self._begun = CommonRun(known), ""

    def add(self, piece: str) -> None:
        """The text goes on."""
        text = self._begun + piece
        self._begun = _LAST_WORD.search(text)[0]  # type: ignore[index]  # it matches the empty word too
        for word in _hashes(text[: len(text) - len(self._begun)]):
            self._run.add(word)
            self.words += 1

    @property
    def longest_run(self) -> int:
        """How many words stand in one run in a known post, if the last one is as there."""
        return self._run.longest + bool(self._begun)

    @property
    def is_near_copy(self) -> bool:
        """Whether at least half of the words stand in one run in a known post, however the last word ends."""
        return 2 * self.longest_run >= self.words + bool(self._begun)


def words_digest(text: str) -> bytes:
    """A digest of a text's words in lower case, WORDS_DIGEST_BYTES bytes; empty for a text without words."""
    words = re.findall(r"\w+", text.lower())
    return blake2b(" ".join(words).encode(), digest_size=WORDS_DIGEST_BYTES).digest() if words else b""


def _hashes(text: str) -> list[int]:
    """CRC-32 hashes of a text's words in lower case, with 1 in place of 0."""
    return [zlib.crc32(word.encode()) or 1 for word in re.findall(r"\w+", text.lower())]
