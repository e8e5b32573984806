"""From the posts of every arm to the rows of the table."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from client.classes import detected_styles, detected_topic
from research.composition.arms import STYLE_SUBJECT, Pair
from research.detectors import Classifier
from research.figures import Scorer
from research.metrics import Estimate, distinct2, over_readers

Texts = Sequence[Sequence[str]]
"""Posts of every pair."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Says which texts are of a topic, and which are of a style."""

    has_topic: Callable[[Sequence[str], str], list[bool]]
    has_style: Callable[[Sequence[str], str], list[bool]]


KEYWORDS = Measure(
    lambda texts, topic: [detected_topic(text) == topic for text in texts],
    lambda texts, style: [style in detected_styles(text) for text in texts],
)


def classified(topics: Classifier, styles: Classifier) -> Measure:
    """By two classifiers."""
    return Measure(
        lambda texts, topic: [topic in found for found in topics(texts)],
        lambda texts, style: [style in found for found in styles(texts)],
    )


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of posts, one value a pair.

    Attributes:
        both: of posts that have the style and the topic.
    """

    topic: list[float]
    style: list[float]
    both: list[float]


@dataclass(frozen=True, slots=True)
class Row:
    """An arm; every estimate is over pairs.

    Attributes:
        rows: virtual tokens.
        keywords: topic, style and both by the catalogue's detectors.
        classifiers: the same by classifiers.
        ahead: by how much more of the arm's posts of style × subject prompts have both, by the detectors, pair by pair.
        perplexity: under the plain model, of every post by itself.
        distinct2: different word pairs by all word pairs, among the posts of a pair.
    """

    arm: str
    rows: int
    keywords: tuple[Estimate, Estimate, Estimate]
    classifiers: tuple[Estimate, Estimate, Estimate]
    ahead: Estimate
    perplexity: Estimate
    distinct2: Estimate


def rows_of(
    pairs: Sequence[Pair],
    posts: Mapping[str, Texts],
    virtual_tokens: Mapping[str, int],
    measures: tuple[Measure, Measure],
    scorer: Scorer,
) -> list[Row]:
    """The table.

    Args:
        pairs: what was asked for.
        posts: of every arm, in the order of the pairs.
        virtual_tokens: of every arm.
        measures: the detectors and the classifiers.
        scorer: knows the likelihood of some posts of every pair and arm.
    """
    keywords, classifiers = ({arm: shares(m, pairs, texts) for arm, texts in posts.items()} for m in measures)
    best = keywords[STYLE_SUBJECT].both
    return [
        Row(
            arm=arm,
            rows=virtual_tokens[arm],
            keywords=_estimates(keywords[arm]),
            classifiers=_estimates(classifiers[arm]),
            ahead=over_readers([a - b for a, b in zip(best, keywords[arm].both, strict=True)]),
            perplexity=_perplexity(scorer, texts),
            distinct2=over_readers([distinct2(of_pair) for of_pair in texts]),
        )
        for arm, texts in posts.items()
    ]


def shares(measure: Measure, pairs: Sequence[Pair], texts: Texts) -> Shares:
    """What a measure finds in the posts of each pair."""
    found = Shares([], [], [])
    for pair, of_pair in zip(pairs, texts, strict=True):
        topic, style = measure.has_topic(of_pair, pair.topic), measure.has_style(of_pair, pair.style)
        both = [a and b for a, b in zip(topic, style, strict=True)]
        for values, hits in ((found.topic, topic), (found.style, style), (found.both, both)):
            values.append(sum(hits) / len(hits))
    return found


def _estimates(found: Shares) -> tuple[Estimate, Estimate, Estimate]:
    return over_readers(found.topic), over_readers(found.style), over_readers(found.both)


def _perplexity(scorer: Scorer, texts: Texts) -> Estimate:
    """The geometric mean of the pairs' perplexities."""
    logs = over_readers([math.log(scorer.perplexity(of_pair)) for of_pair in texts])
    return Estimate(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high))
