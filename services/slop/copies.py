"""Near-copies of known posts: a text half of which stands in one of them, word for word and in one run.

Known posts are kept as hashes of their words, beside the basis that was trained on them.
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
_END: Final = 0  # after each post; no word has it

log = structlog.get_logger(__name__)


class KnownPosts:
    """Tells whether a text nearly copies a post."""

    def __init__(self, words: Words) -> None:
        """From the (N,) hashes of the words of all posts, a 0 after each post."""
        self._words = words
        self._order = np.argsort(words, kind="stable")
        self._sorted = words[self._order]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Of posts as texts."""
        return cls(np.array([word for text in texts for word in (*_hashes(text), _END)], dtype=np.uint32))

    def are_copied_by(self, text: str) -> bool:
        """Whether at least half of a text's words are one run of a post's; a text without words copies nothing."""
        words = _hashes(text)
        return bool(words) and 2 * self.longest_run(words) >= len(words)

    def longest_run(self, words: list[int]) -> int:
        """The longest run of hashes that is in a post too: the longest common substring, by dynamic programming."""
        longest, ends, runs = 0, np.empty(0, np.intp), np.empty(0, np.intp)  # where runs end, and how long they are
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
        """Where a hash stands, rising."""
        first, last = (int(np.searchsorted(self._sorted, np.uint32(word), side)) for side in ("left", "right"))
        return self._order[first:last]

    def save(self, folder: Path) -> None:
        """Write known.safetensors, beside a basis."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"words": self._words}, folder / KNOWN_FILE)

    @classmethod
    def beside(cls, folder: Path) -> Self:
        """The posts that the basis in a folder was trained on; none without the file, and if it is not usable.

        The log then says why: posts are served unchecked.
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
    """Hashes of a text's words in lower case, none of them 0."""
    return [zlib.crc32(word.encode()) or 1 for word in re.findall(r"\w+", text.lower())]
