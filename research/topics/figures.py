"""Computes the figures from the arms' posts."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np

from client.catalogue import Post
from research.detectors import Measure
from research.metrics import Estimate, distinct2_of, over_readers
from research.topics.arms import POSTS, Given
from research.topics.people import MAIN, TasteKind

Classes = Mapping[str, set[str]]


class Judge:
    """The classes of every text by several measures, each text judged once."""

    def __init__(
        self, classifier: Measure, keywords: Measure, texts: Iterable[str], parts: Measure | None = None
    ) -> None:
        """`parts` finds a topic and a style in one text, where `classifier` finds one of either."""
        listed = sorted(set(texts))
        self.classifier: Classes = dict(zip(listed, classifier(listed), strict=True))
        self.keywords: Classes = dict(zip(listed, keywords(listed), strict=True))
        self.parts: Classes | None = dict(zip(listed, parts(listed), strict=True)) if parts else None


class Copies:
    """Finds posts that nearly repeat another one: half of the post, word for word and in one run.

    Attributes:
        rewritten: posts that took the place of such a copy.
    """

    def __init__(self, posts: Iterable[Post], rewritten: Set[str] = frozenset()) -> None:
        self.rewritten = rewritten
        self._others = [_words(post.text) for post in posts]
        self._runs, self._known = cache(self._runs_of), cache(self._is_copy)

    def __call__(self, text: str) -> bool:
        """Whether a text is a near-copy."""
        return self._known(text)

    def _is_copy(self, text: str) -> bool:
        words = _words(text)
        length = -(-len(words) // 2)
        return bool(length and _runs(words, length) & self._runs(length))

    def _runs_of(self, length: int) -> frozenset[tuple[str, ...]]:
        return frozenset(chain.from_iterable(_runs(words, length) for words in self._others))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _runs(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}


@dataclass(frozen=True, slots=True)
class Row:
    """One arm for one kind of reader after n interactions.

    Attributes:
        share: of posts on one of the reader's tastes, by the classifier.
        keywords: the same by keyword and surface detectors.
        every: share of readers with two tastes who find both of them among POSTS posts; None for another
            number of posts.
        every_by_parts: the same by a classifier of topics and one of styles, which find both in one post.
        at_once: share of posts that are of all of the reader's tastes, by the detectors.
        at_once_by_classifiers: the same by a classifier of topics and one of styles; None for readers of other tastes
            than a topic and a style.
        by_seed: `share` for each seed.
        distinct2: by the control's, of as many posts.
        near_copies: share of the posts.
        rewritten: share of the posts that took the place of a near-copy.
    """

    kind: str
    arm: str
    n: int
    share: Estimate
    keywords: Estimate
    every: Estimate | None
    every_by_parts: Estimate | None
    at_once: Estimate
    at_once_by_classifiers: Estimate | None
    by_seed: Sequence[float]
    distinct2: float
    near_copies: float
    rewritten: float
    prompt_tokens: float
    readers: int
    posts: int


def rows_of(given: Iterable[Given], judge: Judge, copies: Copies, control: Sequence[str]) -> list[Row]:
    """A row for every kind, arm and count; `control` are the plain model's posts."""
    groups: dict[tuple[str, str, int], list[Given]] = defaultdict(list)
    for one in given:
        groups[one.member.kind, one.arm, one.n].append(one)
    return [_row(kind, arm, n, group, judge, copies, control) for (kind, arm, n), group in groups.items()]


def _row(
    kind: str, arm: str, n: int, group: Sequence[Given], judge: Judge, copies: Copies, control: Sequence[str]
) -> Row:
    shares = [share_of(one, judge.classifier) for one in group]
    by_seed = [_mean(share_of(one, judge.classifier) for one in of) for of in _seeds(group)]
    texts = [text for one in group for text in one.posts]
    size = min(len(control), len(set(texts)))
    unique = sorted(set(texts))
    return Row(
        kind=kind,
        arm=arm,
        n=n,
        share=over_readers(shares),
        keywords=over_readers([share_of(one, judge.keywords) for one in group]),
        every=_every(group, judge.classifier),
        every_by_parts=_every(group, judge.parts) if judge.parts else None,
        at_once=over_readers([_at_once(one, judge.keywords) for one in group]),
        at_once_by_classifiers=_by_parts(kind, group, judge.parts),
        by_seed=by_seed,
        distinct2=distinct2_of(unique, size) / distinct2_of(control, size),
        near_copies=sum(map(copies, texts)) / len(texts),
        rewritten=_mean(text in copies.rewritten for text in texts),
        prompt_tokens=float(np.mean([one.prompt_tokens for one in group])),
        readers=len(group),
        posts=len(texts),
    )


def _seeds(group: Sequence[Given]) -> list[list[Given]]:
    seeds = sorted({one.member.seed for one in group})
    return [[one for one in group if one.member.seed == seed] for seed in seeds]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def share_of(one: Given, classes: Classes) -> float:
    """Share of a reader's posts that are on one of the tastes."""
    return _mean(bool(classes[text] & set(one.member.tastes)) for text in one.posts)


def _every(group: Sequence[Given], classes: Classes) -> Estimate | None:
    if any(len(one.posts) != POSTS for one in group):
        return None
    return over_readers([float(set(one.member.tastes) <= found_in(one, classes)) for one in group])


def found_in(one: Given, classes: Classes) -> set[str]:
    """All classes that a reader's posts are of."""
    return set(chain.from_iterable(classes[text] for text in one.posts))


def _at_once(one: Given, classes: Classes) -> float:
    return _mean(set(one.member.tastes) <= classes[text] for text in one.posts)


def _by_parts(kind: str, group: Sequence[Given], parts: Classes | None) -> Estimate | None:
    if kind != TasteKind.BOTH or parts is None:
        return None
    return over_readers([_at_once(one, parts) for one in group])


def by_taste(given: Iterable[Given], judge: Judge, arm: str) -> dict[str, Estimate]:
    """The share on each single taste of the catalogue, after MAIN interactions, the lowest first."""
    shares: dict[str, list[float]] = defaultdict(list)
    for one in given:
        if one.arm == arm and one.n == MAIN and len(one.member.tastes) == 1 and one.member.kind != TasteKind.CHANGED:
            shares[one.member.tastes[0]].append(share_of(one, judge.classifier))
    found = {taste: over_readers(values) for taste, values in shares.items()}
    return dict(sorted(found.items(), key=lambda item: item[1].mean))
