"""Compares ways to ask for a style and a topic in one post.

    python -m research.composition [--pairs 36] [--posts 8] [--seed 0] [--out research/results]

Pairs of a style and a topic of the catalogue, which has no post with both: what is measured is composition. It needs
style × subject prompts ('make style_subject'), and uses the vLLM that runs, or starts one. Every option can be given in
the environment too: COMPOSITION_PAIRS and so on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console

from client.catalogue import LabelledCatalogue, Post, by_label, load_catalogue
from client.classes import load_classes
from client.errors import UserError
from client.texts import Sampling
from research.base_model import base_model
from research.composition import report
from research.composition.arms import ARMS, Asking, Pair, pairs_of
from research.composition.choice import Chosen
from research.composition.figures import KEYWORDS, Row, Texts, classified, rows_of
from research.detectors import NO_STYLE, Classifier, accuracy
from research.figures import Scorer
from research.folders import RESULTS
from research.screen import LOCAL, options_of, progress_on, run_study
from research.stack import writer
from research.writers import Writer
from slop.basis import Basis, InvalidBasis
from slop.settings import DEFAULT_BASIS, LearningSettings
from slop.style_subject import StyleSubjectBasis
from training.language_model import LanguageModel

EXAMPLES: Final = 6


class CompositionSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("composition")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    style_subject: Path = Field(
        DEFAULT_BASIS,
        validation_alias=AliasChoices("style_subject", "COMPOSITION_STYLE_SUBJECT", "factored", "COMPOSITION_FACTORED"),
        description="folder with the style × subject prompts",
    )
    seed: int = Field(0, ge=0, description="of the pairs")
    pairs: int = Field(36, ge=2, le=96, description="pairs of a style and a topic")
    posts: int = Field(8, ge=2, le=64, description="posts a pair and arm")
    liked: int = Field(6, ge=1, le=18, description="held-out posts that choose a class' prompts")
    scored: int = Field(4, ge=1, le=64, description="posts a pair and arm whose perplexity is taken")

    temperature: float = Field(0.8, ge=0, le=2, description="of every arm")
    max_tokens: int = Field(48, ge=8, le=512, description="of every post of every arm")
    min_p: float = Field(0.05, ge=0, le=1, description="of every arm")
    concurrency: int = Field(12, ge=1, description="requests at a time")
    local: bool = Field(False, description=LOCAL)

    @property
    def sampling(self) -> Sampling:
        """How all arms' posts are drawn."""
        return Sampling(self.temperature, self.max_tokens, self.min_p)


def load_bases(settings: CompositionSettings) -> tuple[Basis, StyleSubjectBasis]:
    """The basis that ships, and the style × subject prompts.

    Raises:
        UserError: one is missing or broken.
    """
    try:
        return Basis.load(LearningSettings().basis_dir), StyleSubjectBasis.load(settings.style_subject)
    except InvalidBasis as error:
        raise UserError(str(error)) from error


def choose(settings: CompositionSettings, catalogue: LabelledCatalogue, console: Console) -> tuple[Asking, Chosen]:
    """The prompts of every class, by held-out posts of it.

    Raises:
        UserError: there is no usable basis, or one was trained on another model.
    """
    basis, style_subject = load_bases(settings)
    model = LanguageModel.load(base_model(basis, style_subject), basis.template)
    liked = {name: [p.text for p in posts[: settings.liked]] for name, posts in by_label(catalogue.held_out).items()}
    with progress_on(console) as progress:
        chosen = Chosen.by(liked, model, basis, style_subject, progress)
    return Asking(basis, style_subject, chosen), chosen


async def written(
    engine: Writer, asking: Asking, arm: str, pairs: Sequence[Pair], settings: CompositionSettings
) -> list[list[str]]:
    """The posts of an arm, in the order of the pairs."""

    async def of(pair: Pair) -> list[str]:
        requests = asking.requests(arm, pair, settings.posts)
        answers = await asyncio.gather(*(engine.write(r.messages, r.posts, settings.sampling) for r in requests))
        return [text for texts in answers for text in texts.posts]

    return list(await asyncio.gather(*map(of, pairs)))


async def write_and_score(
    asking: Asking, pairs: Sequence[Pair], settings: CompositionSettings, console: Console
) -> tuple[dict[str, Texts], Scorer]:
    """The posts of all arms, and the likelihood of some of them under the plain model."""
    posts: dict[str, Texts] = {}
    async with writer(console, asking.basis, local=settings.local, concurrency=settings.concurrency) as engine:
        with progress_on(console) as progress:
            task = progress.add_task("arms", total=len(ARMS))
            for arm in ARMS:
                posts[arm] = await written(engine, asking, arm, pairs, settings)
                progress.advance(task)
            sample = (
                text for texts in posts.values() for of_pair in texts for text in _spread(of_pair, settings.scored)
            )
            return posts, await Scorer.of(engine, sample, progress)


def _spread(texts: Sequence[str], count: int) -> Sequence[str]:
    """`count` of a pair's posts at even distances, so that each prompt of a mixture has its share."""
    return texts[:: max(1, len(texts) // count)][:count]


def classifiers_of(catalogue: LabelledCatalogue) -> tuple[Classifier, Classifier, dict[str, float]]:
    """Classifiers of topics and of styles, and the shares of catalogue posts that they are right on."""
    topics, styles = Classifier.of_topics(catalogue.held_out), Classifier.of_styles(catalogue.held_out)
    kinds = {name: spec.kind for name, spec in load_classes().items()}
    of_topics = [post for post in catalogue.shown if kinds[post.label] == "topic"]
    toned = [
        Post(post.post_id, post.text, post.label if kinds[post.label] == "style" else NO_STYLE)
        for post in catalogue.shown
    ]
    return topics, styles, {"topics": accuracy(topics, of_topics), "styles": accuracy(styles, toned)}


def about(
    settings: CompositionSettings, chosen: Chosen, basis: StyleSubjectBasis, seen: Mapping[str, float]
) -> dict[str, Any]:
    """What the figures were taken with."""
    options = settings.model_dump(include={"seed", "pairs", "posts", "liked", "temperature", "max_tokens", "min_p"})
    losses = {"basis": asdict(chosen.loss), "style_subject": asdict(chosen.style_subject_loss)}
    return {
        **options,
        "model": basis.model,
        "revision": basis.revision,
        "style_subject_version": basis.version,
        "built": basis.built,
        "classifier_accuracy": dict(seen),
        "held_out_loss": losses,
        "chosen": {"prompts": chosen.prompts, "styles": chosen.styles, "subjects": chosen.subjects},
    }


def examples_of(pairs: Sequence[Pair], posts: Mapping[str, Texts]) -> list[dict[str, str]]:
    """The first post of every arm for the first pairs."""
    return [
        {"pair": f"{pair.style}, {pair.topic}", **{arm: texts[at][0] for arm, texts in posts.items()}}
        for at, pair in enumerate(pairs[:EXAMPLES])
    ]


def measure(settings: CompositionSettings, console: Console) -> None:
    """Run the study, print the table and write the files.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    catalogue = load_catalogue()
    names = {kind: [name for name, spec in load_classes().items() if spec.kind == kind] for kind in ("style", "topic")}
    pairs = pairs_of(names["style"], names["topic"], settings.pairs, settings.seed)
    asking, chosen = choose(settings, catalogue, console)
    topics, styles, seen = classifiers_of(catalogue)
    posts, scorer = asyncio.run(write_and_score(asking, pairs, settings, console))
    virtual_tokens = {arm: asking.rows(arm) for arm in ARMS}
    rows: list[Row] = rows_of(pairs, posts, virtual_tokens, (KEYWORDS, classified(topics, styles)), scorer)
    facts = about(settings, chosen, asking.style_subject, seen) | {"examples": examples_of(pairs, posts)}
    report.show(console, rows, facts, settings.out)


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: measure(CompositionSettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
