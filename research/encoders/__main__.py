"""Compares encoders of posts: how well readers are learned from their features, and their CPU time for a post.

    python -m research.encoders [--readers 60] [--out FOLDER]

Simulated readers react to catalogue posts, production's update learns them under each encoder's features, and what is
judged is the ranking of posts that nobody saw and the prompts that would write for them. The posts under the prompts
are those of the topics study (kept in .run/studies), or written now.
"""

import asyncio
from hashlib import sha256
from pathlib import Path

import numpy as np
from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.progress import Progress

from client.catalogue import LabelledCatalogue, by_label, load_catalogue, some_of
from research import jokes
from research.detectors import Classifier
from research.encoders import report
from research.encoders.arms import Floats, encoders
from research.encoders.figures import Rates, Row, rates_of, rows_of
from research.folders import KEPT, RESULTS
from research.likelihoods import by_token
from research.screen import LOCAL, options_of, progress_on, run_study
from research.topics.people import Habits, TasteKind, members_of
from research.topics.pools import kept_pools
from slop.basis import Basis
from slop.settings import LearningSettings
from training.language_model import LanguageModel


class EncodersSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("encoders")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="of the readers; each has posts of its own")
    readers: int = Field(60, ge=2, le=1_000, description="readers of each kind and seed")
    pool: int = Field(32, ge=8, le=500, description="posts under each prompt and seed; 32 are those of topics")
    shown: int = Field(16, ge=16, le=54, description="catalogue posts of each class that readers may see")
    unseen: int = Field(4, ge=1, le=18, description="posts of each class that are ranked, which the basis never saw")
    noise: float = Field(0.1, ge=0, lt=0.5, description="share of reactions that are the wrong way round")
    exposure: float = Field(0.5, ge=0.1, le=1, description="share of the shown posts from the reader's own classes")
    local: bool = Field(False, description=LOCAL)


def tokens_of(model: LanguageModel, basis: Basis, texts: list[str], progress: Progress) -> Floats:
    """Likelihoods by token, kept in .run/studies for the next time."""
    digest = sha256("\0".join([basis.text_version, *texts]).encode()).hexdigest()[:12]
    path = KEPT / f"likelihoods-{digest}.npy"
    if not path.exists():
        found = by_token(model, basis.prompts, texts, progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, found)
    return np.asarray(np.load(path), dtype=np.float32)


def rates(settings: EncodersSettings, console: Console, catalogue: LabelledCatalogue, basis: Basis) -> Rates:
    """The classes of posts under the prompts."""
    pools = asyncio.run(kept_pools(console, basis, settings.seeds, settings.pool, local=settings.local))
    return rates_of(pools, Classifier.trained_on(catalogue.held_out))


def study(settings: EncodersSettings, console: Console, catalogue: LabelledCatalogue, basis: Basis) -> list[Row]:
    """All rows."""
    classes = rates(settings, console, catalogue, basis)
    shown, unseen = some_of(catalogue.shown, settings.shown), some_of(catalogue.held_out, settings.unseen)
    texts = [post.text for post in (*shown, *unseen)]
    habits = Habits(settings.readers, settings.noise, settings.exposure)
    kinds = (TasteKind.TOPIC, TasteKind.STYLE, TasteKind.TWO)
    members = [m for seed in settings.seeds for kind in kinds for m in members_of(kind, by_label(shown), habits, seed)]
    with progress_on(console) as progress:
        model = jokes.language_model(basis)
        tokens = tokens_of(model, basis, texts, progress)
    found = list(encoders(model, basis, texts, tokens, settings.seeds[0]))
    with progress_on(console) as progress:
        tracked = progress.track(found, description="readers under the encoders")
        return [row for encoder in tracked for row in rows_of(encoder, basis, (shown, unseen), members, classes)]


def compare(settings: EncodersSettings, console: Console) -> None:
    """Run the study, print the table and write the files.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    basis = Basis.load(LearningSettings().basis_dir)
    rows = study(settings, console, load_catalogue(), basis)
    about = settings.model_dump(exclude={"out"}) | {"model": basis.model, "basis": basis.version}
    report.show(console, rows, about, settings.out)


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: compare(EncodersSettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
