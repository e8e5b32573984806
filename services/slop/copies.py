"""Near-copies: texts of which at least half of the words stand, in one run, in a post that the basis was trained on.

These known posts are kept beside the basis, as hashes of their words.
"""

import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import structlog
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

Words = npt.NDArray[np.uint32]

KNOWN_FILE: Final = "known.safetensors"
_END: Final = 0  # the hash after each post; no word has it

log = structlog.get_logger(__name__)


class KnownPosts:
    """The known posts; tells whether a text is a near-copy of one."""

    def __init__(self, words: Words) -> None:
        """From (N,) uint32, the hashes of the words of all posts in order, with a 0 after each post."""
        self._words = words
        self._order = np.argsort(words, kind="stable")
        self._sorted = words[self._order]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """From the texts of posts."""
        return cls(np.array([word for text in texts for word in (*_hashes(text), _END)], dtype=np.uint32))

    def are_copied_by(self, text: str) -> bool:
        """Whether a text is a near-copy of a known post; a text without words is none."""
        words = _hashes(text)
        return bool(words) and 2 * self.longest_run(words) >= len(words)

    def longest_run(self, words: list[int]) -> int:
        """How many of the hashes stand in one run in a known post: the length of the longest common substring.

        By dynamic programming: for each hash, `ends` are the places of all equal hashes in the known posts, and `runs`
        the lengths of the common runs that end there. A run goes on where the place before is among the former ends.
        """
        longest, ends, runs = 0, np.empty(0, np.intp), np.empty(0, np.intp)
        for word in words:
            places = self._places(word)
            before = np.searchsorted(ends, places - 1)
            goes_on = before < ends.size
            goes_on[goes_on] = ends[before[goes_on]] == places[goes_on] - 1
            lengths = np.ones(places.size, np.intp)
            lengths[goes_on] += runs[before[goes_on]]
            ends, runs = places, lengths
            longest = max(longest, int(runs.max(initial=0)))
        return longest

    def _places(self, word: int) -> npt.NDArray[np.intp]:
        """The places of a hash in the known posts, in rising order."""
        first, last = (int(np.searchsorted(self._sorted, np.uint32(word), side)) for side in ("left", "right"))
        return self._order[first:last]

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


def _hashes(text: str) -> list[int]:
    """CRC-32 hashes of a text's words in lower case, with 1 in place of 0."""
    return [zlib.crc32(word.encode()) or 1 for word in re.findall(r"\w+", text.lower())]
