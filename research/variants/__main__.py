"""Compares ways to build a basis: rounds, steps, assignment, preferences, numbers of prompts and rows, seeds.

    python -m research.variants [--names '["as shipped", "20 prompts"]'] [--local] [--out research/results]

Every basis is built from the catalogue without labels, as 'make basis' builds it, and judged on readers and posts that
it has not seen. On two cores a basis takes 20 minutes to build, on a GPU (--local) a minute; each is built and judged
once, and kept in .run/studies. What was judged is in the table, whichever names are given.
"""

import asyncio
import json
from hashlib import sha256
from pathlib import Path

import numpy as np
from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.progress import Progress

from client.catalogue import LabelledCatalogue, by_label, load_catalogue, some_of
from client.texts import Sampling
from research import jokes, tables
from research.detectors import Classifier
from research.figures import Scorer
from research.folders import RESULTS
from research.likelihoods import by_token
from research.metrics import distinct2_of
from research.screen import LOCAL, options_of, progress_on, run_study
from research.stack import writer
from research.topics.arms import Pool, Pools
from research.topics.figures import Copies
from research.topics.people import Habits, members_of
from research.topics.writing import cached_writer
from research.variants import report
from research.variants.builds import BUILT, CHANGES, Variant
from research.variants.figures import KINDS, Posts, Texts, figures_of
from research.writers import Writer
from slop.basis import Basis
from slop.settings import LearningSettings


class VariantsSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("variants")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    names: list[str] = Field(list(CHANGES), min_length=1, description=f"of {', '.join(CHANGES)}")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="of the readers; each has posts of its own")
    readers: int = Field(60, ge=2, le=1_000, description="readers of each kind and seed")
    pool: int = Field(32, ge=8, le=500, description="posts under each prompt and seed")
    scored: int = Field(8, ge=1, le=500, description="posts under each prompt whose perplexity is taken")
    shown: int = Field(34, ge=16, le=54, description="catalogue posts of each class that readers may see")
    unseen: int = Field(6, ge=1, le=18, description="posts of each class that are ranked, which no basis saw")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of reactions that are the wrong way round")
    exposure: float = Field(0.5, ge=0.1, le=1, description="share of the shown posts from the reader's own classes")
    local: bool = Field(False, description=LOCAL)

    @field_validator("names")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        if unknown := set(names) - set(CHANGES):
            raise ValueError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(CHANGES)}")
        return names


def known_posts(basis: Basis, settings: VariantsSettings, catalogue: LabelledCatalogue, progress: Progress) -> Posts:
    """What readers react to and what is ranked, with what a basis knows of it."""
    shown, unseen = some_of(catalogue.shown, settings.shown), some_of(catalogue.held_out, settings.unseen)
    features = jokes.text_features(basis, [post.text for post in (*shown, *unseen)], progress)
    model, texts = jokes.language_model(basis), [post.text for post in unseen]
    logs = by_token(model, basis.prompts, texts, progress).sum(axis=2, dtype=np.float64)
    tokens = [len(model.post_tokens(text)) for text in texts]
    return Posts(shown, unseen, features[: len(shown)], features[len(shown) :], logs, tokens)


async def written(
    settings: VariantsSettings, basis: Basis, engine: Writer, progress: Progress
) -> tuple[dict[int, Pool], Pool, dict[str, float]]:
    """Posts under the prompts by seed, the plain model's, and perplexity and distinct-2, both by the plain model's."""
    pools = Pools(cached_writer(engine, basis, progress), basis, Sampling())
    soft = {seed: await pools.soft(seed, settings.pool) for seed in settings.seeds}
    plain = await pools.control(settings.seeds[0], settings.pool * 4)
    some = [text for under in soft[settings.seeds[0]].posts for text in under[: settings.scored]]
    scorer = await Scorer.of(engine, [*some, *plain.posts[0]], progress)
    every = [text for under in soft[settings.seeds[0]].posts for text in under]
    size = min(len(every), len(plain.posts[0]))
    variety = distinct2_of(every, size) / distinct2_of(plain.posts[0], size)
    control = scorer.perplexity(plain.posts[0])
    return soft, plain, {"perplexity": scorer.perplexity(some), "control": control, "distinct2": variety}


async def judged(
    variant: Variant, settings: VariantsSettings, live: Basis, catalogue: LabelledCatalogue, console: Console
) -> tables.Row:
    """Build and judge one variant."""
    basis = variant.basis(live, catalogue)
    with progress_on(console) as progress:
        posts = known_posts(basis, settings, catalogue, progress)
    async with writer(console, basis, local=settings.local) as engine:
        with progress_on(console) as progress:
            soft, plain, fluency = await written(settings, basis, engine, progress)
    listed = sorted({text for pool in (*soft.values(), plain) for under in pool.posts for text in under})
    classes = dict(zip(listed, Classifier.trained_on(catalogue.held_out)(listed), strict=True))
    habits, shown = Habits(settings.readers, settings.noise, settings.exposure), by_label(posts.shown)
    members = [m for seed in settings.seeds for kind in KINDS for m in members_of(kind, shown, habits, seed)]
    figures = figures_of(basis, posts, members, Texts(soft, plain, classes, Copies(catalogue.shown)))
    return report.flat(variant.name, basis, figures, fluency)


def kept_row(variant: Variant, settings: VariantsSettings, live: Basis) -> Path:
    """Where the row of a variant is kept."""
    about = settings.model_dump(exclude={"out", "names"}, mode="json")
    return BUILT / f"{variant.digest(live.revision)}-{sha256(json.dumps(about).encode()).hexdigest()[:8]}.json"


def compare(settings: VariantsSettings, console: Console) -> None:
    """Run the study, print the table and write the files.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    live, catalogue = Basis.load(LearningSettings().basis_dir), load_catalogue()
    paths = {name: kept_row(Variant.named(name), settings, live) for name in CHANGES}
    for name in settings.names:
        if not paths[name].exists():
            row = asyncio.run(judged(Variant.named(name), settings, live, catalogue, console))
            tables.save_json(paths[name], row)
    rows = [json.loads(path.read_text()) for path in paths.values() if path.exists()]
    about = settings.model_dump(exclude={"out", "names"}) | {"model": live.model, "revision": live.revision}
    report.show(console, rows, about, settings.out)


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: compare(VariantsSettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
