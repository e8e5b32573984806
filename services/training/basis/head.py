"""Fit the head of a basis, which tells a post's responsibilities by its embedding and stylometrics.

    python -m training.basis.head --model FOLDER [--basis FOLDER] [--embedder FOLDER]

`training.basis` does so at its end. This command fits a new head to a basis that exists, say for another embedder or
for posts of another kind. The prompts stay as they are. Factors are dropped: they were fitted to the old features.
"""

import argparse
from pathlib import Path

import torch

from slop.basis import Basis
from slop.settings import DEFAULT_BASIS
from training.basis.command import Materials, parser_of, remove
from training.basis.distil import HeadOptions, fit_head


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a head to a parser."""
    defaults = HeadOptions()
    parser.add_argument("--written", type=int, default=defaults.written, help="posts written under each prompt")
    parser.add_argument("--components", type=int, default=defaults.components, help="of embeddings, for ranking alone")


def options_of(args: argparse.Namespace) -> HeadOptions:
    """The options of a head, as they were given."""
    return HeadOptions(written=args.written, components=args.components)


def main() -> None:
    """The command line."""
    parser = parser_of(__doc__, ".run/basis/head.pt", seed=0)
    parser.add_argument("--basis", type=Path, default=DEFAULT_BASIS, help="whose head is fitted")
    add_options(parser)
    args = parser.parse_args()
    made_of, basis = Materials.of(args), Basis.load(args.basis)
    if basis.revision != made_of.about_model[1]:
        raise SystemExit(f"{args.basis} is of {basis.model} {basis.revision}, not of {args.model}")
    found = fit_head(
        made_of.model,
        made_of.embedder,
        torch.from_numpy(basis.prompts),
        made_of.catalogue.posts,
        basis.temperature,
        options_of(args),
        args.checkpoint,
        args.seed,
    ).of(basis)
    found.save(args.out)
    remove(args.checkpoint)
    print(f"basis {found.version}: the head of {found.size} prompts, in {args.out}")


if __name__ == "__main__":
    main()
