"""From what was written by every way to the rows of the table."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from research.figures import Scorer
from research.metrics import Estimate, distinct2, distinct2_of, over_readers
from research.prompts.ways import PRODUCTION
from research.topics.arms import POSTS, Given
from research.topics.figures import Copies, Judge, found_in, share_of


@dataclass(frozen=True, slots=True)
class Row:
    """One way for one kind of reader; every estimate is over readers.

    Attributes:
        share: of posts on one of the reader's tastes, by the classifier.
        ahead: by how much more than production's way, with the same readers.
        every: readers who find each of their tastes among POSTS posts; None for readers of one taste.
        at_once: share of posts that are of all of the reader's tastes, by the detectors.
        perplexity: under the plain model, each post by itself.
        distinct2: among a reader's posts, by that of as many of the plain model's.
        likeness: of a reader's posts to each other, the mean cosine of pairs of their embeddings.
        near_copies: share of posts that nearly repeat one of the catalogue.
        by_seed: `share` of each seed.
        prompt_tokens: of a request.
    """

    kind: str
    way: str
    share: Estimate
    ahead: Estimate
    every: Estimate | None
    at_once: Estimate
    perplexity: Estimate
    distinct2: Estimate
    likeness: Estimate
    near_copies: Estimate
    by_seed: Sequence[float]
    prompt_tokens: float
    readers: int


@dataclass(frozen=True, slots=True)
class Measures:
    """What posts are judged by.

    Attributes:
        judge: of classes.
        copies: of the catalogue.
        scorer: knows the likelihood of `scored` posts of every reader.
        scored: see `some`.
        distinct2: of POSTS posts of the plain model.
        likeness: of a reader's posts to each other.
    """

    judge: Judge
    copies: Copies
    scorer: Scorer
    scored: int
    distinct2: float
    likeness: Callable[[Sequence[str]], float]

    @classmethod
    def of(
        cls,
        judge: Judge,
        copies: Copies,
        scorer: Scorer,
        scored: int,
        plain: Sequence[str],
        likeness: Callable[[Sequence[str]], float],
    ) -> "Measures":
        """With the variety of the plain model's posts."""
        return cls(judge, copies, scorer, scored, distinct2_of(plain, POSTS), likeness)


def some(posts: Sequence[str], count: int) -> Sequence[str]:
    """Some of a reader's posts, from the first to the last, so that each of the prompts has its share."""
    return posts[:: max(1, len(posts) // count)][:count]


def rows_of(given: Sequence[Given], measures: Measures) -> list[Row]:
    """A row for every kind and way."""
    groups: dict[tuple[str, str], list[Given]] = defaultdict(list)
    for one in given:
        groups[one.member.kind, one.arm].append(one)
    usual = {one.member.reader.user_id: one for one in given if one.arm == PRODUCTION}
    return [_row(kind, way, group, usual, measures) for (kind, way), group in groups.items()]


def _row(kind: str, way: str, group: Sequence[Given], usual: Mapping[str, Given], by: Measures) -> Row:
    classes, keywords = by.judge.classifier, by.judge.keywords
    several = all(len(one.member.tastes) > 1 for one in group)

    def over(value: Callable[[Given], float]) -> Estimate:
        return over_readers([value(one) for one in group])

    return Row(
        kind=kind,
        way=way,
        share=over(lambda one: share_of(one, classes)),
        ahead=over(lambda one: share_of(one, classes) - share_of(usual[one.member.reader.user_id], classes)),
        every=over(lambda one: set(one.member.tastes) <= found_in(one, classes)) if several else None,
        at_once=over(lambda one: _share(set(one.member.tastes) <= keywords[text] for text in one.posts)),
        perplexity=_perplexity(group, by),
        distinct2=over(lambda one: distinct2(one.posts) / by.distinct2),
        likeness=over(lambda one: by.likeness(one.posts)),
        near_copies=over(lambda one: _share(map(by.copies, one.posts))),
        by_seed=_by_seed(group, lambda one: share_of(one, classes)),
        prompt_tokens=sum(one.prompt_tokens for one in group) / len(group),
        readers=len(group),
    )


def _share(hits: Iterable[bool]) -> float:
    listed = list(hits)
    return sum(listed) / len(listed)


def _by_seed(group: Sequence[Given], value: Callable[[Given], float]) -> list[float]:
    of: dict[int, list[float]] = defaultdict(list)
    for one in group:
        of[one.member.seed].append(value(one))
    return [sum(values) / len(values) for _, values in sorted(of.items())]


def _perplexity(group: Sequence[Given], by: Measures) -> Estimate:
    """The geometric mean of the readers' perplexities; readers whose posts have no second token have none."""
    logs = []
    for one in group:
        try:
            logs.append(math.log(by.scorer.perplexity(some(one.posts, by.scored))))
        except ValueError:
            continue
    middle = over_readers(logs)
    return Estimate(math.exp(middle.mean), math.exp(middle.low), math.exp(middle.high))
