"""Two independent measures of a text's class, neither of which uses the basis.

`detected` asks the catalogue's keyword and surface detectors. `Classifier` is a linear classifier on word and character
n-grams, trained on held-out posts that the basis never saw and on hand-written ones.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Self

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

from client.catalogue import Post, hand_written
from client.classes import detected_styles, detected_topic, load_classes

Measure = Callable[[Sequence[str]], list[set[str]]]
"""Maps texts to the classes that each of them is of; a set may be empty."""

NO_STYLE: Final = "none"

_WORD_PARTS: Final = re.compile(r"(?P<w>[a-z]+)|(?P<C>[A-Z]{2,})|(?P<U>[A-Z])|(?P<N>\d+)")


def detected(texts: Sequence[str]) -> list[set[str]]:
    """For each text the styles whose detectors match it, and the topic with the most keywords in it."""
    return [detected_styles(text) | ({topic} if (topic := detected_topic(text)) else set()) for text in texts]


def shape(text: str) -> str:
    """A text without its words: runs of letters become `w`, `U` or `C`, numbers `N`; marks and newlines stay."""
    return _WORD_PARTS.sub(lambda match: str(match.lastgroup), text)


def _words() -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True)


def _parts_of_words() -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 5))


def _shapes() -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, analyzer="char", ngram_range=(1, 4), lowercase=False, preprocessor=shape)


class Classifier:
    """Assigns each text to the one class that it most probably is of."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    @classmethod
    def trained_on(cls, held_out: Iterable[Post]) -> Self:
        """Fit on held-out posts and the hand-written examples."""
        return cls._fitted(_examples(held_out), _words(), _parts_of_words(), _shapes())

    @classmethod
    def of_topics(cls, held_out: Iterable[Post]) -> Self:
        """Tells topics apart by words alone, so that the style of a text has no part in it; every text has a topic."""
        examples = [(text, label) for text, label in _examples(held_out) if load_classes()[label].kind == "topic"]
        return cls._fitted(examples, _words(), _parts_of_words())

    @classmethod
    def of_styles(cls, held_out: Iterable[Post]) -> Self:
        """Tells styles apart by marks alone, so that the topic of a text has no part in it; topics' posts have none."""
        classes = load_classes()
        examples = [
            (text, label if classes[label].kind == "style" else NO_STYLE) for text, label in _examples(held_out)
        ]
        return cls._fitted(examples, _shapes())

    @classmethod
    def _fitted(cls, examples: Iterable[tuple[str, str]], *blocks: TfidfVectorizer) -> Self:
        pipeline = make_pipeline(make_union(*blocks), LinearSVC(random_state=0))
        texts, labels = zip(*examples, strict=True)
        return cls(pipeline.fit(texts, labels))

    def __call__(self, texts: Sequence[str]) -> list[set[str]]:
        """One class for every text."""
        return [{str(label)} for label in self._pipeline.predict(list(texts))] if texts else []


def _examples(held_out: Iterable[Post]) -> list[tuple[str, str]]:
    return [(post.text, post.label) for post in held_out] + hand_written()


def either(*measures: Measure) -> Measure:
    """All classes that one of several measures finds."""
    return lambda texts: [set().union(*found) for found in zip(*(m(texts) for m in measures), strict=True)]


def once(measure: Measure, texts: Iterable[str]) -> Measure:
    """The measure of these texts, computed once for all of them together."""
    different = list(dict.fromkeys(texts))
    found = dict(zip(different, measure(different), strict=True))
    return lambda asked: [found[text] for text in asked]


def accuracy(measure: Measure, posts: Sequence[Post]) -> float:
    """Share of posts whose true class is among those that a measure finds."""
    found = measure([post.text for post in posts])
    return sum(post.label in classes for post, classes in zip(posts, found, strict=True)) / len(posts)


def on_taste(measure: Measure, texts: Sequence[str], tastes: Iterable[str]) -> list[bool]:
    """Whether each text is of one of the tastes."""
    wanted = set(tastes)
    return [bool(classes & wanted) for classes in measure(texts)]
