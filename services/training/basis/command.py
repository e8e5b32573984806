"""Common to the commands that build a basis: their options, and reading the model, the posts and the embedder."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from kafka.errors import KafkaError

from slop.basis import Template
from slop.embedder import Embedder, InvalidEmbedder
from slop.settings import DEFAULT_BASIS, LearningSettings
from training import CATALOGUE
from training.basis.checkpoint import kept_lessons
from training.basis.from_log import MOST_POSTS, Catalogue
from training.heap import keep_freed_memory
from training.language_model import LanguageModel, revision_of


def parser_of(
    description: str | None, checkpoint: str, seed: int, rounds: Sequence[int] = ()
) -> argparse.ArgumentParser:
    """The options that all have; `checkpoint`, `seed` and, where prompts are trained, `rounds` are defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="folder of the base model")
    parser.add_argument("--embedder", default=os.environ.get("SLOP_EMBEDDER"), help="folder or hub name; SLOP_EMBEDDER")
    parser.add_argument("--model-name", default="SmolLM2-135M-Instruct")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE)
    parser.add_argument("--log", action="store_true", help="also read posts and readers' reactions from Kafka")
    parser.add_argument("--most-posts", type=int, default=MOST_POSTS, help="of the log")
    parser.add_argument("--out", type=Path, default=DEFAULT_BASIS)
    parser.add_argument("--checkpoint", type=Path, default=Path(checkpoint))
    parser.add_argument("--fresh", action="store_true", help="do not resume from the checkpoint")
    if rounds:
        parser.add_argument("--rounds", type=int, nargs="+", default=list(rounds))
    parser.add_argument("--seed", type=int, default=seed)
    return parser


@dataclass(frozen=True, slots=True)
class Materials:
    """What a basis is built from; `about_model` is the base model's name and revision."""

    model: LanguageModel
    about_model: tuple[str, str]
    embedder: Embedder
    catalogue: Catalogue

    @classmethod
    def of(cls, args: argparse.Namespace) -> Self:
        """Read them, with the process ready to train; ends it if the log is asked for and can't be read."""
        if args.fresh:
            args.checkpoint.unlink(missing_ok=True)
        keep_freed_memory()
        torch.manual_seed(args.seed)
        catalogue = catalogue_of(args)
        about = (args.model_name, revision_of(args.model))
        return cls(LanguageModel.load(args.model, Template()), about, embedder_of(args.embedder), catalogue)


def embedder_of(source: str | None) -> Embedder:
    """The sentence embedder, with one thread for each core; ends the process if there is no usable one."""
    if not source:
        raise SystemExit("no sentence embedder: --embedder FOLDER, or SLOP_EMBEDDER (python -m infra.models.embedder)")
    try:
        return Embedder.load(source, os.cpu_count() or 1)
    except InvalidEmbedder as error:
        raise SystemExit(str(error)) from error


def catalogue_of(args: argparse.Namespace) -> Catalogue:
    """The posts to build from. They are kept beside the checkpoint, so that a resumed build has the same ones."""
    kept = kept_posts(args.checkpoint)
    if args.checkpoint.exists():
        if kept.exists():
            return Catalogue.load(kept)
        print(f"begun anew: {args.checkpoint} does not say from which posts it is")
        args.checkpoint.unlink()
    catalogue = _read(args)
    catalogue.save(kept)
    return catalogue


def kept_posts(checkpoint: Path) -> Path:
    """Where the posts of a build are kept."""
    return checkpoint.with_suffix(".posts.pt")


def remove(checkpoint: Path) -> None:
    """Remove the checkpoint of a build that is done, with the files beside it."""
    for path in (checkpoint, kept_posts(checkpoint), kept_lessons(checkpoint)):
        path.unlink(missing_ok=True)


def _read(args: argparse.Namespace) -> Catalogue:
    if not args.log:
        return Catalogue.of_file(args.catalogue)
    try:
        return Catalogue.of_log(args.catalogue, LearningSettings(), args.most_posts, args.seed)
    except (KafkaError, TimeoutError) as error:
        raise SystemExit(f"the log can't be read: {error}") from error
