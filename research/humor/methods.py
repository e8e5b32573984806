"""The methods that are compared, and on how many readers and jokes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from client.catalogue import load_catalogue
from research import jokes
from research.base_model import base_model
from research.humor.settings import HumorSettings
from research.humor.tasks import Jokes
from research.rankers import (
    SLOP,
    Crowd,
    EmbeddingRidge,
    MatrixFactorisation,
    Method,
    Slop,
)
from slop.basis import Basis
from slop.settings import LearningSettings
from slop.text_features import Components
from training.basis.distil import HeadOptions, components_of
from training.factors import Fit, FitOptions, Reactions
from training.factors.refit import features_of, refit

LANGUAGE_COUNTS: Final = (5, 10, 20, 40)
TUNED_COUNTS: Final = (10, 40)
LANGUAGE_ASKED: Final = 20
COMPONENTS: Final = 64

HISTORY: Final = "history in the prompt"
PERSONA: Final = "persona prompt"
DEAR: Final = (HISTORY, PERSONA, "prompt tuning", "LoRA")
"""How the names of methods begin that a language model ranks by, none of which stands on features."""


@dataclass(frozen=True, slots=True)
class Group:
    """Methods that are compared on the same readers and jokes.

    Attributes:
        methods: to compare.
        counts: of ratings, after which they rank.
        readers: how many at most.
        asked: jokes that are ranked for each, at most.
    """

    methods: Sequence[Method]
    counts: tuple[int, ...]
    readers: int
    asked: int


def methods_for(
    basis: Basis, reactions: Reactions, all_jokes: Jokes, embedded: npt.NDArray[np.float32], size: int
) -> tuple[Slop, list[Method]]:
    """SLOP and the others, fitted to the other readers' reactions.

    For a joke that nobody rated, the method of mean ratings predicts the mean from the text, as the factors do.
    """
    options, settings = FitOptions(size=size), LearningSettings()
    fitted = refit(basis, reactions, settings.prior_of, options).basis
    every = Reactions(
        *(reactions.readers, reactions.posts, reactions.values, reactions.weights),
        keys=all_jokes.keys,
        text_features=all_jokes.text_features.astype(np.float64),
    )
    features = features_of(fitted, every)
    rows = features[:, basis.text_size :]
    fit = Fit(reactions, options)
    factors = fit.run()
    ours, means = Slop(fitted, settings.prior_of(fitted), features), rows[:, -1].astype(np.float64)
    lengths = all_jokes.text_features[:, basis.size].astype(np.float64)
    return ours, [
        ours,
        Slop(basis, settings.prior_of(basis), all_jokes.text_features, f"{SLOP} by text, no factors"),
        with_components(basis, all_jokes.text_features, embedded),
        Crowd(means),
        Crowd(np.sign(np.corrcoef(lengths, means)[0, 1]) * lengths, "length alone"),
        MatrixFactorisation(factors, rows, fit.noise, fit.bias_variance),
        EmbeddingRidge(embedded),
    ]


def with_components(basis: Basis, text_features: npt.NDArray[np.float32], embedded: npt.NDArray[np.float32]) -> Slop:
    """By text, with components of the (J, E) embeddings for ranking alone, as bases can have them."""
    components = catalogue_components()
    crowd = np.concatenate([basis.crowd_direction[: basis.size + 1], np.zeros(COMPONENTS, np.float32)])
    wider = replace(basis, components=components, crowd_direction=crowd, factors=None)
    features = np.hstack([text_features[:, : basis.size + 1], components.of_embeddings(embedded)])
    prior = LearningSettings().prior_of(wider)
    return Slop(wider, prior, features.astype(np.float32), f"{SLOP} by text, {COMPONENTS} components")


@cache
def catalogue_components() -> Components:
    """Of the catalogue's posts that bases are built from."""
    found = components_of(
        jokes.embeddings([post.text for post in load_catalogue().shown]), COMPONENTS, HeadOptions().share
    )
    assert found is not None  # noqa: S101
    return found


def language_groups(settings: HumorSettings, basis: Basis, texts: Sequence[str]) -> list[Group]:
    """The methods that ask a language model, if there are readers for them."""
    if not settings.language_readers + settings.tuned_readers:
        return []
    from research.rankers_in_words import InWords, as_history, as_persona
    from research.told_model import FrozenModel
    from research.tuned_rankers import Tuned, lora, prompt_tuning

    frozen = FrozenModel.load(str(base_model(basis)), basis.template, texts)
    words, seed = {HISTORY: as_history, PERSONA: as_persona}, settings.seed
    told = [InWords(name, frozen, tell, LANGUAGE_COUNTS) for name, tell in words.items()]
    tunings = (prompt_tuning(frozen, basis.prompts.shape[1]), lora())
    tuned = [Tuned(frozen, tuning, TUNED_COUNTS, seed) for tuning in tunings]
    groups = (
        Group(told, LANGUAGE_COUNTS, settings.language_readers, LANGUAGE_ASKED),
        Group(tuned, TUNED_COUNTS, settings.tuned_readers, LANGUAGE_ASKED),
    )
    return [group for group in groups if group.readers]
