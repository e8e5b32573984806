"""Compares ways from a profile's weights to a prompt, for readers with one, two and four tastes.

    python -m research.prompts [--readers 60] [--own-readers 12] [--seeds 0,1,2] [--local] [--out research/results]

A mixture by several powers, the strongest prompt alone, Thompson sampling, the best of several candidates,
concatenation, average, and a projector, which is trained first if there is none: minutes on a GPU, hours on two cores.
The readers and their learning are those of `research.topics`, and what was written is kept with its texts. Every option
can be given in the environment too: PROMPTS_READERS and so on. PROMPTS_OWN_READERS=0 leaves out what is written for
each reader and the projector; with PROMPTS_EARLIER=file those rows are of an earlier run.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.progress import Progress

from client.catalogue import LabelledCatalogue, Post, load_catalogue
from client.errors import UserError
from client.texts import Sampling
from research import jokes
from research.detectors import Classifier, accuracy, detected
from research.embedder import embedder
from research.figures import Scorer
from research.folders import KEPT, RESULTS
from research.projector import InvalidProjector, Projector, ProjectorOptions, train_projector
from research.prompts import report
from research.prompts.choosing import CANDIDATES, CHOOSING, KnownTexts, Reads
from research.prompts.figures import Measures, Row, rows_of, some
from research.prompts.given import Learned, first_of, for_nobody, given_chosen, given_from_pools, given_own
from research.prompts.ways import DRAWN, OWN
from research.screen import LOCAL, options_of, progress_on, run_study
from research.stack import writer
from research.topics.arms import CONTROL, Pool, Pools
from research.topics.figures import Copies, Judge
from research.topics.people import MAIN, Habits, Learner, Member, TasteKind, members_of, members_with
from research.topics.shown import learner_and_posts
from research.topics.writing import cached_writer
from research.writers import Writer
from slop.basis import Basis
from slop.encoder import Encoder
from slop.settings import LearningSettings

TASTES: Final = {"one taste": 1, "two tastes": 2, "four tastes": 4}


class PromptsSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("prompts")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="of the readers; each has posts of its own")
    readers: int = Field(60, ge=2, le=1_000, description="readers of each kind and seed")
    own_readers: int = Field(12, ge=0, le=1_000, description="of each kind and seed, with prompts of their own")
    pool: int = Field(32, ge=CANDIDATES, le=500, description="posts under each prompt and seed; 32 are those of topics")
    projector: Path | None = Field(None, description="file of the projector; without it one is trained, and kept")
    projector_steps: int = Field(300, ge=1, le=10_000, description="of the training of a projector")
    scored: int = Field(2, ge=1, le=8, description="posts of each reader and way whose perplexity is taken")
    shown: int = Field(34, ge=16, le=54, description="catalogue posts of each class that readers may see")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of reactions that are the wrong way round")
    exposure: float = Field(0.5, ge=0.1, le=1, description="share of the shown posts from the reader's own classes")
    temperature: float = Field(0.8, ge=0, le=2, description="of every way")
    max_tokens: int = Field(48, ge=8, le=512, description="of every post of every way")
    min_p: float = Field(0.05, ge=0, le=1, description="generation's setting, the same for every way")
    concurrency: int = Field(8, ge=1, description="requests at a time")
    local: bool = Field(False, description=LOCAL)
    earlier: Path | None = Field(
        None, description="prompts.json of an earlier run; without own readers theirs are kept"
    )

    @property
    def sampling(self) -> Sampling:
        """How posts are drawn."""
        return Sampling(self.temperature, self.max_tokens, self.min_p)


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is written.

    Attributes:
        basis: the one that ships.
        classifier: of classes.
        projector: None if nothing is written for readers alone.
        learned: the readers.
        reads: gives the text features and the embeddings of posts.
    """

    basis: Basis
    classifier: Classifier
    projector: Projector | None
    learned: Sequence[Learned]
    reads: Reads


def projector_of(settings: PromptsSettings, basis: Basis, posts: Sequence[str]) -> Projector:
    """The projector that was given, or one that is trained on the catalogue's posts, and kept.

    Raises:
        UserError: the file is of no use for this basis.
    """
    path, options = settings.projector, ProjectorOptions(steps=settings.projector_steps)
    if path is None:
        path = KEPT / "projectors" / f"{basis.text_version}-{options.steps}.safetensors"
        if not path.exists():
            train_projector(jokes.language_model(basis), basis, posts, path, options, path.with_suffix(".pt"))
    try:
        return Projector.load(path, basis)
    except InvalidProjector as error:
        raise UserError(f"{error}; train one with 'python -m research.projector'") from error


def members(settings: PromptsSettings, shown: Mapping[str, Sequence[Post]]) -> list[Member]:
    """The readers of all kinds and seeds."""
    habits = Habits(settings.readers, settings.noise, settings.exposure)
    with_tastes = [
        member
        for kind, tastes in TASTES.items()
        for seed in settings.seeds
        for member in members_with(kind, tastes, shown, habits, seed)
    ]
    return with_tastes + [
        member for seed in settings.seeds for member in members_of(TasteKind.BOTH, shown, habits, seed)
    ]


def learned_by(learner: Learner, everyone: Sequence[Member]) -> list[Learned]:
    """Every reader after MAIN interactions."""
    return [Learned(at, member, learner.profiles(member, [MAIN])[MAIN]) for at, member in enumerate(everyone)]


def prepared(settings: PromptsSettings, catalogue: LabelledCatalogue, console: Console) -> Prepared:
    """The projector if there are readers for it, and readers with their profiles.

    Raises:
        UserError: the projector is of no use.
    """
    basis = Basis.load(LearningSettings().basis_dir)
    shown_texts = [post.text for post in catalogue.shown]
    projector = projector_of(settings, basis, shown_texts) if settings.own_readers else None
    with progress_on(console) as progress:
        learner, shown = learner_and_posts(basis, catalogue, settings.shown, progress)
    learned = learned_by(learner, members(settings, shown))
    reads = Encoder(basis, embedder()).features_and_embeddings
    return Prepared(basis, Classifier.trained_on(catalogue.held_out), projector, learned, reads)


async def of_seeds(
    settings: PromptsSettings, written: Callable[[int, int], Coroutine[None, None, Pool]]
) -> dict[int, Pool]:
    """The pools of all seeds, written at once."""
    pools = await asyncio.gather(*(written(seed, settings.pool) for seed in settings.seeds))
    return dict(zip(settings.seeds, pools, strict=True))


async def study(
    settings: PromptsSettings, ready: Prepared, engine: Writer, catalogue: LabelledCatalogue, progress: Progress
) -> list[Row]:
    """All rows."""
    writer = cached_writer(engine, ready.basis, progress)
    pools = Pools(writer, ready.basis, settings.sampling)
    plain = await of_seeds(settings, pools.control)
    soft = await of_seeds(settings, pools.soft)
    given = [for_nobody(one, plain[one.member.seed], CONTROL) for one in ready.learned]
    for way in DRAWN:
        given += given_from_pools(way, ready.basis, ready.learned, soft, plain)
    if ready.projector is not None:
        some_readers = first_of(ready.learned, settings.own_readers)
        for way in OWN:
            given += await given_own(way, ready.basis, ready.projector, some_readers, plain, writer, settings.sampling)
    pooled = chain.from_iterable(posts for pool in (*soft.values(), *plain.values()) for posts in pool.posts)
    texts = {*pooled, *(text for one in given for text in one.posts)}
    known = KnownTexts.read(ready.basis, sorted(texts), ready.reads)
    for way in CHOOSING:
        given += given_chosen(way, ready.basis, ready.learned, soft, plain, known)
    sampled = (text for one in given for text in some(one.posts, settings.scored))
    scorer = await Scorer.of(engine, sampled, progress)
    judge = Judge(ready.classifier, detected, (text for one in given for text in one.posts))
    of_nobody = [post for pool in plain.values() for post in pool.posts[0]]
    by = Measures.of(judge, Copies(catalogue.shown), scorer, settings.scored, of_nobody, known.likeness)
    return rows_of(given, by)


async def written_and_judged(
    settings: PromptsSettings, ready: Prepared, catalogue: LabelledCatalogue, console: Console
) -> list[Row]:
    """All rows, by what writes for this study."""
    async with writer(console, ready.basis, local=settings.local, concurrency=settings.concurrency) as engine:
        with progress_on(console) as progress:
            return await study(settings, ready, engine, catalogue, progress)


def prompts_study(settings: PromptsSettings, console: Console) -> None:
    """Run the study, print the tables and write the files.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    catalogue = load_catalogue()
    ready = prepared(settings, catalogue, console)
    rows = asyncio.run(written_and_judged(settings, ready, catalogue, console))
    about = settings.model_dump(exclude={"out", "concurrency", "projector", "earlier"}) | {
        "model": ready.basis.model,
        "basis": ready.basis.version,
        "projector_training": ready.projector.about if ready.projector else {},
        "classifier_accuracy": round(accuracy(ready.classifier, catalogue.shown), 4),
    }
    report.show(console, rows, about, settings.out, settings.earlier)


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: prompts_study(PromptsSettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
