"""Build style × subject prompts: find a style and a subject for every post without labels, and train both jointly.

    python -m training.basis.style_subject --model FOLDER [--catalogue FILE] [--out FOLDER]

The catalogue is a JSONL file of {"post_id", "text"}; with --log the posts of slop.posts.v1 are read too.
"""

import argparse
from pathlib import Path

from slop.basis import Basis
from slop.settings import DEFAULT_BASIS
from slop.style_subject import StyleSubjectBasis
from training.basis.command import Materials, parser_of, remove
from training.basis.style_subject_build import build_style_subject
from training.basis.style_subject_state import StyleSubjectOptions


def show(basis: StyleSubjectBasis) -> None:
    """Print what a basis consists of."""
    for part, all_words in (("style", basis.style_words), ("subject", basis.subject_words)):
        for number, (words, size) in enumerate(zip(all_words, basis.built[f"{part}_sizes"], strict=True)):
            print(f"  {part} {number:2d} {size:4d} posts  {' '.join(words[:8])}")


def main() -> None:
    """The command line."""
    defaults = StyleSubjectOptions()
    parser = parser_of(__doc__, ".run/basis/style_subject.pt", defaults.seed, defaults.rounds)
    parser.add_argument("--styles", type=int, default=defaults.styles)
    parser.add_argument("--subjects", type=int, default=defaults.subjects)
    parser.add_argument("--mixture", type=Path, default=DEFAULT_BASIS, help="folder of the basis that it goes with")
    parser.add_argument("--drafted", type=int, nargs="*", default=list(defaults.drafted), help="steps of each round")
    parser.add_argument("--preferences", action=argparse.BooleanOptionalAction, default=defaults.preferences)
    args = parser.parse_args()
    made_of = Materials.of(args)
    options = StyleSubjectOptions(
        styles=args.styles,
        subjects=args.subjects,
        rounds=tuple(args.rounds),
        preferences=args.preferences,
        drafted=tuple(args.drafted),
        seed=args.seed,
    )
    mixture, posts = Basis.load(args.mixture), made_of.catalogue.posts
    if mixture.revision != made_of.about_model[1]:
        raise SystemExit(f"{args.mixture} is of {mixture.model} {mixture.revision}, not of {args.model}: 'make basis'")
    basis, _ = build_style_subject(
        made_of.model, made_of.about_model, made_of.embedder.embed, posts, options, args.checkpoint, mixture
    )
    basis.save(args.out)
    remove(args.checkpoint)
    styles, subjects = basis.size
    print(f"style × subject prompts {basis.version}: {styles} styles and {subjects} subjects, in {args.out}")
    print(f"held-out posts: {basis.built['held_out_loss']}")
    show(basis)


if __name__ == "__main__":
    main()
