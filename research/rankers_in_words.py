"""Rivals that rank jokes under a language model that is told of the reader in words."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from research.rankers import PromptTokens
from research.told_model import Doubles, FrozenModel, liked

SHOWN: Final = 6
DESCRIPTION_TOKENS: Final = 40


@dataclass(frozen=True, slots=True)
class Told:
    """What a model is told of a reader.

    Attributes:
        system: the system message; turns may follow in it, as the template renders them.
        kept: the texts that are kept of the reader for it.
    """

    system: str
    kept: tuple[str, ...]


def as_history(frozen: FrozenModel, best: Sequence[int]) -> Told:
    """The best jokes as turns before the request, the best one last, nearest to it."""
    shown = [frozen.texts[joke] for joke in reversed(best[:SHOWN])]
    return Told(frozen.lm.tail.join([frozen.template.plain_system, *shown]), tuple(shown))


def as_persona(frozen: FrozenModel, best: Sequence[int]) -> Told:
    """The model's own description of the reader's humour, from the best jokes (as in arXiv 2502.20356)."""
    shown = "\n\n".join(frozen.texts[joke] for joke in best[:SHOWN])
    request = (
        f"One reader laughed at these jokes:\n\n{shown}\n\nDescribe this reader's sense of humour in one sentence."
    )
    description = frozen.answer(request, DESCRIPTION_TOKENS)
    return Told(f"{frozen.template.plain_system} The reader: {description}", (description,))


class InWords:
    """The model is told in words."""

    def __init__(
        self,
        name: str,
        frozen: FrozenModel,
        tell: Callable[[FrozenModel, Sequence[int]], Told],
        counts: Collection[int],
    ) -> None:
        """`tell` makes of a reader's liked jokes what the model is told, after each of `counts` ratings."""
        self.name, self.frozen, self.tell, self.counts = name, frozen, tell, counts

    def reader(self) -> "_ReaderInWords":
        """A new reader."""
        return _ReaderInWords(self)


class _ReaderInWords:
    def __init__(self, method: InWords) -> None:
        self._method, self._ratings = method, list[tuple[int, float]]()
        self._told = Told(method.frozen.template.plain_system, ())

    def learn(self, joke: int, value: float) -> None:
        self._ratings.append((joke, value))
        if len(self._ratings) in self._method.counts:
            self._told = self._method.tell(self._method.frozen, liked(self._ratings))

    def scores(self, jokes: Sequence[int]) -> Doubles:
        return self._method.frozen.gains(self._method.frozen.rows(self._told.system), jokes)

    @property
    def stored_bytes(self) -> int:
        return sum(len(text.encode()) for text in self._told.kept)

    @property
    def tokens(self) -> PromptTokens:
        size = len(self._method.frozen.lm.tokens(self._told.system))
        return PromptTokens(size, size)
