"""Computes the figures of the table from the generated posts."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from rich.progress import Progress

from client.catalogue import Post, by_label
from client.readers import Reader
from client.texts import TextScore
from research.closed_loop import CLOSER, LoopOutcome, Person
from research.detectors import Measure, on_taste, once
from research.metrics import Estimate, distinct2, distinct2_of, over_readers, perplexity
from research.write_catalogue import is_near_copy, shingles
from research.writers import Writer

Texts = Sequence[Sequence[str]]
"""Posts of every reader."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Share of posts on the readers' tastes by one measure, for each arm."""

    soft: Estimate
    control: Estimate
    history: Estimate


@dataclass(frozen=True, slots=True)
class Row:
    """All figures after so many interactions; ratios are to the control arm.

    Attributes:
        main: shares by the classifier.
        keywords: shares by the keyword and surface detectors.
        near_copies: share of posts that nearly repeat a post the reader was shown and liked.
    """

    interactions: int
    main: Shares
    keywords: Shares
    perplexity: float
    perplexity_ratio: float
    history_perplexity: float
    distinct2_ratio: float
    near_copies: float
    history_near_copies: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The table, and perplexities to compare with."""

    rows: list[Row]
    control_perplexity: float
    held_out_perplexity: float
    control_distinct2: float


class Scorer:
    """Log-likelihoods of texts under the plain model, each computed once."""

    def __init__(self, scores: Mapping[str, TextScore]) -> None:
        self._scores = scores

    @classmethod
    async def of(cls, engine: Writer, texts: Iterable[str], progress: Progress) -> "Scorer":
        """Score all texts that are not empty."""
        unique = sorted({text for text in texts if text})
        task = progress.add_task("perplexity under the plain model", total=len(unique))

        async def score(text: str) -> TextScore:
            result = await engine.score(text)
            progress.advance(task)
            return result

        return cls(dict(zip(unique, await asyncio.gather(*map(score, unique)), strict=True)))

    def perplexity(self, texts: Iterable[str]) -> float:
        """Of the texts that were scored, together."""
        return perplexity(self._scores[text] for text in texts if text in self._scores)


def flat(texts: Texts) -> list[str]:
    """The posts of all readers."""
    return list(chain.from_iterable(texts))


def sampled_texts(outcome: LoopOutcome, posts: int, judged_at: int) -> list[str]:
    """The first `posts` posts of every reader, count and arm; CLOSER times as many at `judged_at`.

    The control arm, which that is read against, is sampled as closely.
    """
    judged = [outcome.control, outcome.soft.get(judged_at, [])]
    others = [*(arm for count, arm in outcome.soft.items() if count != judged_at), *outcome.history.values()]
    return [*_first(judged, CLOSER * posts), *_first(others, posts)]


def _first(arms: Iterable[Texts], posts: int) -> list[str]:
    """So many posts of every reader of some arms."""
    return [text for arm in arms for texts in arm for text in texts[:posts]]


def held_out_of_tastes(readers: Sequence[Reader], held_out: Sequence[Post], a_taste: int) -> list[str]:
    """Catalogue posts that neither the basis nor a reader saw, `a_taste` for every taste of every reader."""
    posts = by_label(held_out)
    return [post.text for reader in readers for taste in reader.tastes for post in posts[taste][:a_taste]]


def figures_of(
    people: Sequence[Person],
    outcome: LoopOutcome,
    measures: tuple[Measure, Measure],
    scorer: Scorer,
    held_out: Sequence[str],
) -> Figures:
    """All figures.

    Args:
        people: the readers, in the order of the outcome's texts.
        outcome: what was generated.
        measures: the classifier and the keyword detectors.
        scorer: knows the likelihood of every text of the outcome and of `held_out`.
        held_out: catalogue posts of the readers' tastes.
    """
    control, arms = flat(outcome.control), [*outcome.soft.values(), *outcome.history.values()]
    written = [*control, *chain.from_iterable(map(flat, arms))]
    main, keywords = (once(measure, written) for measure in measures)
    rows = [_row(count, people, outcome, (main, keywords), scorer) for count in outcome.soft]
    return Figures(rows, scorer.perplexity(control), scorer.perplexity(held_out), distinct2(control))


def _row(
    count: int, people: Sequence[Person], outcome: LoopOutcome, measures: tuple[Measure, Measure], scorer: Scorer
) -> Row:
    # Before the first reaction there is no history: what that baseline writes is what the control arm writes.
    soft, history, control = outcome.soft[count], outcome.history.get(count, outcome.control), flat(outcome.control)
    main, keywords = (_shares(measure, people, soft, history, control) for measure in measures)
    size = min(len(control), len(flat(soft)))
    soft_perplexity = scorer.perplexity(flat(soft))
    return Row(
        interactions=count,
        main=main,
        keywords=keywords,
        perplexity=soft_perplexity,
        perplexity_ratio=soft_perplexity / scorer.perplexity(control),
        history_perplexity=scorer.perplexity(flat(history)),
        distinct2_ratio=distinct2_of(flat(soft), size) / distinct2_of(control, size),
        near_copies=_near_copies(people, count, soft),
        history_near_copies=_near_copies(people, count, history),
    )


def _shares(measure: Measure, people: Sequence[Person], soft: Texts, history: Texts, control: Sequence[str]) -> Shares:
    everyone = [control] * len(people)  # the control arm's posts are for nobody: each is judged for every reader
    return Shares(*(_share(measure, people, texts) for texts in (soft, everyone, history)))


def _share(measure: Measure, people: Sequence[Person], texts: Texts) -> Estimate:
    hits = (on_taste(measure, posts, person.reader.tastes) for person, posts in zip(people, texts, strict=True))
    return over_readers([sum(hit) / len(hit) for hit in hits])


def _near_copies(people: Sequence[Person], count: int, texts: Texts) -> float:
    copies = [
        is_near_copy(text, seen)
        for person, posts in zip(people, texts, strict=True)
        if (seen := [shingles(text) for text in person.liked(count)])
        for text in posts
        if shingles(text)
    ]
    return sum(copies) / len(copies) if copies else 0.0
