"""Posts that are not served: empty ones, and near-copies of known posts. They are written again, or held back."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from generation import metrics
from generation.completions import CompletedText
from generation.prompt_picking import PostsOfPrompt
from generation.writing_request import PostPiece
from slop.copies import GrowingText, KnownPosts, words_digest

CHARACTERS_A_WORD: Final = 8  # in scripts without spaces a text is long before it has many words
COMMON_RUN: Final = 3  # words in a run that any two posts may share, as "I just got": they hold no stream back


@dataclass(frozen=True, slots=True)
class CopyFilter:
    """Finds texts that are not served.

    Attributes:
        known: the posts that must not be copied.
        rewrites: how often such a post is written again, before it is served all the same.
        held_words: how many words of a streamed post are held back until it is clear that it does not begin as a copy;
            0: streams are not checked.
        not_again: digests (`slop.copies.words_digest`) of texts that the reader has had, which are near-copies too.
    """

    known: KnownPosts
    rewrites: int
    held_words: int = 0
    not_again: frozenset[bytes] = frozenset()

    def again(self, written: Iterable[PostsOfPrompt], texts: Mapping[int, CompletedText]) -> Iterator[PostsOfPrompt]:
        """Of the posts that were written, those to be written again.

        Args:
            written: the posts, by their prompts. At temperature 0 the same texts would come again: these stay.
            texts: of these posts.
        """
        for some in written:
            posts = tuple(post for post in some.posts if self.is_refused(texts[post].text))
            if posts and some.request.temperature > 0:
                yield PostsOfPrompt(replace(some.request, n=len(posts)), posts)

    def is_refused(self, text: str) -> bool:
        """Whether a text is empty or a near-copy."""
        if not text.strip() or self.known.are_copied_by(text):
            return True
        return self.is_had(text)

    def is_had(self, text: str) -> bool:
        """Whether a text is one that the reader has had."""
        return bool(self.not_again) and words_digest(text) in self.not_again

    def held(self, post: int) -> "HeldPost":
        """The streamed post of this index, of which nothing has come yet."""
        return HeldPost(post, self)


class HeldPost:
    """A streamed post whose pieces are held back until it is clear that they are served.

    Its first words wait until there are enough of them and they are no near-copy; from then on each piece goes out as
    it comes. Should the post become a near-copy later, what comes then waits too, and if it ends as one it is ended
    where that began. So no streamed post of more than 6 words is one.
    """

    def __init__(self, post: int, copies: CopyFilter) -> None:
        self.index, self._copies = post, copies
        self._words = copies.held_words
        self._growing, self._held, self._text, self._is_begun = GrowingText(copies.known), list[PostPiece](), "", False

    def add(self, piece: PostPiece) -> list[PostPiece]:
        """A piece has come; returns what may be sent now."""
        self._held.append(piece)
        self._text += piece.text
        if self._words:
            self._growing.add(piece.text)
        return self._released() if self._is_clear() else []

    @property
    def draft(self) -> CompletedText | None:
        """The whole text, once it has ended, if it must be written again; None if it is served."""
        if self._is_begun or not self._words or not self._copies.is_refused(self._text):
            return None
        ends = [piece.finish_reason for piece in self._held if piece.finish_reason]
        return CompletedText(self._text, ends[-1] if ends else "stop")

    def end(self) -> list[PostPiece]:
        """The post has ended, and is served; returns what is left to send of it."""
        if not (self._is_begun and self._held and self._copies.is_refused(self._text)):
            return self._released()
        metrics.CUT.inc()
        ends = [piece.finish_reason for piece in self._held if piece.finish_reason]
        self._held.clear()
        return [PostPiece(self.index, "", ends[-1] if ends else "stop")]

    def _is_clear(self) -> bool:
        if not self._words:
            return True
        if not len(self._copies.known) and not self._copies.not_again:
            return bool(self._text.strip())
        is_long = self._growing.words >= self._words or len(self._text) >= CHARACTERS_A_WORD * self._words
        runs_along = self._growing.longest_run > COMMON_RUN and self._growing.is_near_copy
        if not is_long or not self._text.strip() or runs_along:
            return False
        return self._is_begun or not self._copies.is_had(self._text)

    def _released(self) -> list[PostPiece]:
        released, self._held = self._held, []
        self._is_begun |= any(piece.text for piece in released)
        return released
