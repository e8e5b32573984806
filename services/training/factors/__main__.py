"""Fit factors of posts to the log: `python -m training.factors --out FOLDER`.

It reads the whole of slop.signals.v1, and writes the basis of SLOP_BASIS_DIR with new factors, if they rank better than
the old ones for readers who were held out. Style × subject prompts beside the basis are copied.
"""

import argparse
import sys
from pathlib import Path

from kafka.errors import KafkaError

from slop.basis import Basis, InvalidBasis
from slop.copies import KnownPosts
from slop.exit_status import REFUSED
from slop.settings import LearningSettings
from slop.style_subject import StyleSubjectBasis
from training.factors.fit import FitOptions
from training.factors.logged import logged
from training.factors.refit import RefitRefused, refit


def main() -> int:
    """The command line; returns the exit status, REFUSED where the new factors are no better."""
    defaults = FitOptions()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="folder of the new basis")
    parser.add_argument("--size", type=int, default=defaults.size, help="how many factors readers differ in")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    args = parser.parse_args()
    settings = LearningSettings()
    try:
        basis = Basis.load(settings.basis_dir)
        reactions = logged(settings, basis)
        print(f"{len(reactions.values)} reactions of {reactions.reader_count} readers to {len(reactions.keys)} posts")
        done = refit(basis, reactions, settings.prior_of, FitOptions(size=args.size, seed=args.seed))
    except RefitRefused as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    except (InvalidBasis, KafkaError, TimeoutError) as error:
        print(f"training.factors: {error}", file=sys.stderr)
        return 1
    done.basis.save(args.out)
    if (style_subject := StyleSubjectBasis.beside(settings.basis_dir, done.basis)) is not None:
        style_subject.save(args.out)
    KnownPosts.beside(settings.basis_dir).save(args.out)
    print(done.agreement)
    print(f"basis {done.basis.version}, in {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
