"""Readers with hidden tastes, three seeds of them, and what is written for them after 4 to 32 interactions.

    python -m research.topics [--readers 60] [--seeds 0,1,2] [--out research/results]

Features, rewards, the update and the drawing of prompts are production's own, called directly; every text is written by
vLLM, the one that runs or one that is started. What was written is kept in .run/studies, so that a study that was
interrupted goes on. Every option can be given in the environment too: TOPICS_READERS and so on. A run without rivals
(TOPICS_RIVAL_READERS=0 TOPICS_TUNED_READERS=0) takes theirs from an earlier one by TOPICS_EARLIER=file.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.progress import Progress

from client.catalogue import LabelledCatalogue, Post, by_label, load_catalogue
from client.chats import Chats
from client.texts import Sampling
from research import jokes
from research.detectors import Classifier, accuracy, detected, either
from research.figures import Scorer
from research.folders import RESULTS
from research.screen import LOCAL, options_of, progress_on, run_study
from research.stack import writer
from research.topics import report
from research.topics.arms import FRESH, SOFT, WORDS, Given, Pool, Pools, Rivals, for_nobody, from_profiles
from research.topics.composed import ComposedPosts, composed_for, wanted_by
from research.topics.figures import Copies, Judge, by_taste, rows_of
from research.topics.people import MAIN, Habits, Learner, Member, TasteKind, members_of
from research.topics.shown import learner_and_posts
from research.topics.tuned import STEPS, Effort, effort, tuned_prompt
from research.topics.writing import KEPT_TEXTS, CachedWriter, Refusal, cached_writer
from research.writers import Writer
from slop.basis import Basis
from slop.composing import Composer
from slop.copies import KnownPosts
from slop.profiles import Profile
from slop.settings import LearningSettings
from slop.style_subject import StyleSubjectBasis

A_TASTE: Final = 4  # held-out posts of each taste whose perplexity is taken


class TopicsSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("topics")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="of the readers; each has posts of its own")
    readers: int = Field(60, ge=2, le=1_000, description="readers of each kind and seed")
    pool: int = Field(32, ge=8, le=500, description="posts under each prompt and seed, which readers get theirs from")
    words_pool: int = Field(16, ge=8, le=500, description="the same under each prompt's words as text")
    rival_readers: int = Field(12, ge=0, le=1_000, description="of each kind and seed, those whom rivals write for")
    rival_posts: int = Field(4, ge=1, le=16, description="posts that a rival writes for each of them")
    tuned_readers: int = Field(2, ge=0, le=100, description="of each kind, those whom a prompt is tuned for")
    scored: int = Field(80, ge=10, le=5_000, description="posts of each arm and kind whose perplexity is taken")
    shown: int = Field(34, ge=16, le=54, description="catalogue posts of each class that readers may see")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of reactions that are the wrong way round")
    exposure: float = Field(0.5, ge=0.1, le=1, description="share of the shown posts from the reader's own classes")
    temperature: float = Field(0.8, ge=0, le=2, description="of every arm")
    max_tokens: int = Field(48, ge=8, le=512, description="of every post of every arm")
    min_p: float = Field(0.05, ge=0, le=1, description="generation's setting, the same in every arm")
    rewrites: int = Field(2, ge=0, le=8, description="how often a near-copy is written again, in every arm")
    concurrency: int = Field(8, ge=1, description="requests at a time")
    local: bool = Field(False, description=LOCAL)
    earlier: Path | None = Field(None, description="topics.json of an earlier run, whose rivals' rows are kept")

    @property
    def writer(self) -> str:
        """What writes, for the results."""
        return f"transformers on {'a GPU' if torch.cuda.is_available() else 'a CPU'}" if self.local else "vLLM"

    @property
    def sampling(self) -> Sampling:
        """How every arm draws."""
        return Sampling(self.temperature, self.max_tokens, self.min_p)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is known before anything is written: readers, features, prompts."""

    basis: Basis
    classifier: Classifier
    learner: Learner
    members: list[Member]
    tuned: Sequence[tuple[Member, npt.NDArray[np.float32]]] = ()
    effort: Effort | None = None
    style_subject: StyleSubjectBasis | None = None
    known: KnownPosts = field(default_factory=lambda: KnownPosts.of([]))

    def fresh(self) -> list[Member]:
        """The readers whose taste changed, as if they had come only after the change."""
        return [replace(member, before=()) for member in self.members if member.kind == TasteKind.CHANGED]

    def some(self, count: int, *kinds: TasteKind) -> list[Member]:
        """The first `count` readers of every seed and each of the kinds."""
        return [
            member
            for kind in kinds
            for seed in dict.fromkeys(member.seed for member in self.members)
            for member in [m for m in self.members if (m.kind, m.seed) == (kind, seed)][:count]
        ]


@dataclass(frozen=True, slots=True)
class Writings:
    """What the arms wrote.

    Attributes:
        control: the plain model's posts.
        composed: the share of readers of each kind who got composed posts.
        rewritten: posts that took the place of a near-copy.
    """

    given: list[Given]
    control: list[str]
    composed: Mapping[str, float]
    rewritten: set[str]


TOLD: Final = (TasteKind.TOPIC, TasteKind.STYLE, TasteKind.TWO, TasteKind.BOTH)
"""Kinds that rivals write for."""


def prepared(settings: TopicsSettings, catalogue: LabelledCatalogue, progress: Progress) -> Prepared:
    """Readers, features, and the prompts tuned for a few of them: all that torch does."""
    folder = LearningSettings().basis_dir
    basis = Basis.load(folder)
    learner, shown = learner_and_posts(basis, catalogue, settings.shown, progress)
    habits = Habits(settings.readers, settings.noise, settings.exposure)
    members = [m for seed in settings.seeds for kind in TasteKind for m in members_of(kind, shown, habits, seed)]
    classifier, style_subject = Classifier.trained_on(catalogue.held_out), StyleSubjectBasis.beside(folder, basis)
    known = KnownPosts.beside(folder)
    ready = Prepared(basis, classifier, learner, members, style_subject=style_subject, known=known)
    return ready if not settings.tuned_readers else _with_tuned(ready, settings, progress)


def _with_tuned(ready: Prepared, settings: TopicsSettings, progress: Progress) -> Prepared:
    first = settings.seeds[0]
    chosen = [m for m in ready.some(settings.tuned_readers, *TOLD) if m.seed == first]
    model, rows = jokes.language_model(ready.basis), ready.basis.prompts.shape[1]
    task = progress.add_task("prompt tuning, reader by reader", total=len(chosen) + 1)
    prompts = []
    for member in chosen:
        prompts.append(_kept_prompt(ready.basis, member, lambda m: tuned_prompt(model, m.liked(MAIN), rows)))
        progress.advance(task)
    fresh = Profile.new(ready.basis.version, LearningSettings().prior_of(ready.basis))
    spent = effort(model, chosen[0], ready.learner, fresh, rows)
    progress.advance(task)
    return replace(ready, tuned=list(zip(chosen, prompts, strict=True)), effort=spent)


def _kept_prompt(
    basis: Basis, member: Member, tune: Callable[[Member], npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    digest = sha256("\0".join([basis.revision, str(STEPS), *member.liked(MAIN)]).encode()).hexdigest()[:16]
    path = KEPT_TEXTS / "tuned" / f"{digest}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, tune(member))
    return np.asarray(np.load(path), dtype=np.float32)


async def written(settings: TopicsSettings, ready: Prepared, engine: Writer, progress: Progress) -> Writings:
    """What all arms write."""
    refusal = Refusal(ready.known.are_copied_by, settings.rewrites)
    writer = cached_writer(engine, ready.basis, progress, refusal)
    pools = Pools(writer, ready.basis, settings.sampling)
    soft, words, plain = {}, {}, {}
    for seed in settings.seeds:
        plain[seed], soft[seed], words[seed] = (
            await pools.control(seed, settings.pool),
            await pools.soft(seed, settings.pool),
            await pools.words(seed, settings.words_pool),
        )
    given = [
        *for_nobody(plain, ready.members),
        *from_profiles(SOFT, ready.basis, ready.learner, _paired(soft, plain), ready.members),
        *from_profiles(FRESH, ready.basis, ready.learner, _paired(soft, plain), ready.fresh()),
        *from_profiles(WORDS, ready.basis, ready.learner, _paired(words, plain), ready.some(settings.readers, *TOLD)),
    ]
    rivals = Rivals(writer, Chats(ready.basis.template), settings.sampling, settings.rival_posts)
    told = ready.some(settings.rival_readers, *TOLD)
    given += [*await rivals.turns(told), *await rivals.listed(told), *await rivals.persona(told)]
    if ready.tuned:
        members, prompts = zip(*ready.tuned, strict=True)
        given += await rivals.tuned(members, prompts)
    composed, of_kinds = await _composed(settings, ready, writer, _paired(soft, plain))
    control = [post for pool in plain.values() for post in pool.posts[0]]
    return Writings(given + composed, control, of_kinds, writer.rewritten)


async def _composed(
    settings: TopicsSettings, ready: Prepared, writer: CachedWriter, pools: Mapping[int, tuple[Pool, Pool]]
) -> tuple[list[Given], dict[str, float]]:
    composer = Composer.of(ready.style_subject)
    if ready.style_subject is None or composer is None:
        return [], {}
    wanted = wanted_by(composer, ready.basis, ready.learner, ready.members)
    arm = ComposedPosts(writer, ready.basis, ready.style_subject, settings.sampling)
    return await arm.given(wanted, pools), composed_for(wanted)


def _paired(pools: Mapping[int, Pool], plain: Mapping[int, Pool]) -> dict[int, tuple[Pool, Pool]]:
    return {seed: (pool, plain[seed]) for seed, pool in pools.items()}


async def study(
    settings: TopicsSettings, ready: Prepared, engine: Writer, catalogue: LabelledCatalogue, progress: Progress
) -> report.Results:
    """All figures."""
    writings = await written(settings, ready, engine, progress)
    held_out = held_out_of(ready.members, catalogue.held_out)
    sampled = sampled_posts(writings.given, settings.scored) | held_out
    scorer = await Scorer.of(engine, [text for texts in sampled.values() for text in texts], progress)
    parts = either(Classifier.of_topics(catalogue.held_out), Classifier.of_styles(catalogue.held_out))
    judge = Judge(ready.classifier, detected, (p for g in writings.given for p in g.posts), parts)
    rows = rows_of(writings.given, judge, Copies(catalogue.shown, writings.rewritten), writings.control)
    perplexities = {key: scorer.perplexity(texts) for key, texts in sampled.items()}
    return report.Results(rows, perplexities, by_taste(writings.given, judge, SOFT), ready.effort, writings.composed)


async def written_and_judged(
    settings: TopicsSettings, ready: Prepared, catalogue: LabelledCatalogue, console: Console
) -> report.Results:
    """All figures, by what writes for this study."""
    async with writer(console, ready.basis, local=settings.local, concurrency=settings.concurrency) as engine:
        with progress_on(console) as progress:
            return await study(settings, ready, engine, catalogue, progress)


def sampled_posts(given: Iterable[Given], count: int) -> dict[report.Key, list[str]]:
    """Up to `count` different posts of every kind and arm after MAIN interactions, one of each reader in turn."""
    everything, posts = [one for one in given if one.n == MAIN], defaultdict[report.Key, dict[str, None]](dict)
    for turn in range(max(len(one.posts) for one in everything)):
        for one in (one for one in everything if turn < len(one.posts)):
            posts[one.member.kind, one.arm, one.n][one.posts[turn]] = None
    return {key: list(texts)[:count] for key, texts in posts.items()}


def held_out_of(members: Iterable[Member], held_out: Sequence[Post]) -> dict[report.Key, list[str]]:
    """Catalogue posts of the tastes of each kind of reader that neither the basis nor a reader saw."""
    posts, tastes = by_label(held_out), defaultdict[str, dict[str, None]](dict)
    for member in members:
        tastes[member.kind].update(dict.fromkeys(member.tastes))
    texts = {taste: [post.text for post in listed[:A_TASTE]] for taste, listed in posts.items()}
    return {(kind, report.HELD_OUT, 0): [text for taste in of for text in texts[taste]] for kind, of in tastes.items()}


def topics(settings: TopicsSettings, console: Console) -> None:
    """Run the study, print the tables and write the files.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    catalogue = load_catalogue()
    with progress_on(console) as progress:
        ready = prepared(settings, catalogue, progress)
    results = asyncio.run(written_and_judged(settings, ready, catalogue, console))
    about = settings.model_dump(exclude={"out", "concurrency", "earlier"}) | {
        "model": ready.basis.model,
        "basis": ready.basis.version,
        "writer": settings.writer,
        "style_subject_version": ready.style_subject.version if ready.style_subject else None,
        "forgetting": LearningSettings().forgetting,
        "classifier_accuracy": round(accuracy(ready.classifier, catalogue.shown), 4),
    }
    report.show(console, results, about, settings.out, settings.earlier)


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: topics(TopicsSettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
