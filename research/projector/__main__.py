"""Train a projector: `python -m research.projector --help`."""

import argparse
from pathlib import Path

from research.projector.training import ProjectorOptions, train_projector
from slop.basis import Basis
from slop.settings import DEFAULT_BASIS
from training import CATALOGUE
from training.basis.build import read_catalogue
from training.heap import keep_freed_memory
from training.language_model import LanguageModel, revision_of


def main() -> None:
    """The command line."""
    defaults = ProjectorOptions()
    parser = argparse.ArgumentParser(
        "python -m research.projector", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", required=True, type=Path, help="folder of the base model")
    parser.add_argument("--basis", type=Path, default=DEFAULT_BASIS, help="folder of the basis")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE, help="posts to train on")
    parser.add_argument("--out", required=True, type=Path, help="file of the projector")
    parser.add_argument("--checkpoint", type=Path, default=Path(".run/basis/projector.pt"), help="to go on from")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="of the optimiser")
    parser.add_argument("--mixtures", type=int, default=defaults.mixtures, help="made-up readers a step")
    parser.add_argument("--posts", type=int, default=defaults.posts, help="of each of them")
    parser.add_argument("--rate", type=float, default=defaults.rate, help="the learning rate's peak")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of everything random")
    args = parser.parse_args()
    basis = Basis.load(args.basis)
    if basis.revision != (revision := revision_of(args.model)):
        parser.error(f"the basis is of {basis.model} {basis.revision}, the model is {revision}")
    keep_freed_memory()
    chosen = {name: getattr(args, name) for name in ("steps", "mixtures", "posts", "rate", "seed")}
    model, posts = LanguageModel.load(args.model, basis.template), read_catalogue(args.catalogue)
    about = train_projector(model, basis, posts, args.out, ProjectorOptions(**chosen), args.checkpoint).about
    start, end = about["held_out_loss_at_start"], about["held_out_loss"]
    print(f"projector of basis {basis.version}, in {args.out}: held-out posts {start:.3f}, now {end:.3f} nats a token")


if __name__ == "__main__":
    main()
