"""Build a basis: `python -m training.basis --model FOLDER [--catalogue FILE] --out FOLDER`.

With --log it is also built from the newest posts in slop.posts.v1 that people wrote, and from readers' reactions in
slop.signals.v1 under the basis of SLOP_BASIS_DIR, which tell what posts the same readers like.
"""

import argparse

from slop.copies import KnownPosts
from training.basis import head
from training.basis.build import BuildOptions, build_basis
from training.basis.clusters import FEW, SMALLEST
from training.basis.command import Materials, parser_of, remove


def main() -> None:
    """The command line."""
    defaults = BuildOptions()
    parser = parser_of(__doc__, ".run/basis/checkpoint.pt", defaults.seed, defaults.rounds)
    parser.add_argument("--prompts", type=int, default=defaults.prompts)
    parser.add_argument("--preferences", action=argparse.BooleanOptionalAction, default=defaults.preferences)
    head.add_options(parser)
    args = parser.parse_args()
    made_of = Materials.of(args)
    posts, engagement = made_of.catalogue.posts, made_of.catalogue.engagement
    # Only with engagement are small clusters real classes (`research.few`); without it they are chance.
    engaged = engagement is not None
    options = BuildOptions(
        prompts=args.prompts,
        rounds=tuple(args.rounds),
        preferences=args.preferences,
        ward=engaged,
        smallest=FEW if engaged else SMALLEST,
        head=head.options_of(args),
        seed=args.seed,
    )
    basis, _ = build_basis(
        made_of.model, made_of.about_model, made_of.embedder, posts, options, args.checkpoint, engagement=engagement
    )
    basis.save(args.out)
    KnownPosts.of(posts).save(args.out)
    remove(args.checkpoint)
    print(f"basis {basis.version}: {basis.size} prompts from {len(posts)} posts, in {args.out}")
    for words, size in zip(basis.words, basis.built["cluster_sizes"], strict=True):
        print(f"  {size:4d} posts  {' '.join(words[:8])}")


if __name__ == "__main__":
    main()
