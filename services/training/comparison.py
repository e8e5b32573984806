"""Compare a basis with the live one by what readers did: `python -m training.comparison --live FOLDER --next FOLDER`.

It reads slop.signals.v1, which has the signals of both bases once the next one has learned the log beside the live one.
The first half of each reader's reactions is learned under both, and the posts of the second half are ranked. Both rank
by text features alone: factors were fitted to these very readers, and were compared when they were fitted.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from kafka.errors import KafkaError

from slop.basis import Basis, InvalidBasis
from slop.exit_status import REFUSED
from slop.settings import LearningSettings
from training.factors.judging import Agreement, Doubles, Judge
from training.factors.logged import logged
from training.factors.reactions import Reactions
from training.factors.refit import FEWEST_HELD_OUT, PriorOf, agreement


class NotBetter(ValueError):  # noqa: N818
    """The next basis ranks no better, or too few readers can tell; the message has the figures."""


def compared(
    live: Basis, following: Basis, reactions: Reactions, texts: Mapping[str, Doubles], prior: PriorOf
) -> Agreement:
    """Compare how two bases rank by their text features.

    Args:
        live: the live basis.
        following: the next one.
        reactions: readers' reactions, with the posts' text features under the live basis.
        texts: (T,) text features under the next basis, by the post's key; posts without them are left out.
        prior: gives the prior under a basis.

    Raises:
        NotBetter: it does not rank clearly better, or there are fewer than FEWEST_HELD_OUT readers to judge by.
    """
    known = np.array([key in texts for key in reactions.keys], dtype=bool)
    common = reactions.of_posts(known)
    moved = replace(common, text_features=np.array([texts[key] for key in common.keys], dtype=np.float64))
    judge = Judge(common)
    before = agreement(judge, replace(live, factors=None), common, prior) if judge.size else np.zeros(0)
    if before.size < FEWEST_HELD_OUT:
        raise NotBetter(f"{before.size} readers with enough reactions that differ, {FEWEST_HELD_OUT} are needed")
    found = Agreement(before, agreement(judge, replace(following, factors=None), moved, prior))
    if not found.is_better:
        raise NotBetter(str(found))
    return found


def main() -> int:
    """The command line; returns the exit status, REFUSED where the next basis is no better."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", required=True, type=Path, help="folder of the live basis")
    parser.add_argument("--next", required=True, type=Path, help="folder of the next one")
    args, settings = parser.parse_args(), LearningSettings()
    try:
        live, following = Basis.load(args.live), Basis.load(args.next)
        moved = logged(settings, following)
        texts = dict(zip(moved.keys, moved.text_features, strict=True))
        found = compared(live, following, logged(settings, live), texts, settings.prior_of)
    except NotBetter as error:
        print(f"{error}", file=sys.stderr)
        return REFUSED
    except (InvalidBasis, KafkaError, TimeoutError) as error:
        print(f"training.comparison: {error}", file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
