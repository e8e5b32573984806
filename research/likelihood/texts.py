"""The posts of the study: jokes of the ratings' folder, a file of one's own, or the catalogue's held-out posts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from client.catalogue import load_catalogue
from client.errors import UserError
from research.ratings import load_ratings
from training.basis.build import read_catalogue

FEWEST_WORDS: Final = 2
FEWEST_A_PROMPT: Final = 8

Split = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Places of the posts to train on, and of those to measure."""


def jokes_in(folder: Path) -> list[str]:
    """The jokes of a folder of ratings.

    Raises:
        UserError: a file is missing or broken.
    """
    return list(load_ratings(folder).jokes.values())


def posts_in(path: Path) -> list[str]:
    """The texts of a JSONL file of {"post_id", "text"}; those of less than FEWEST_WORDS words have no halves.

    Raises:
        UserError: the file is missing or broken.
    """
    try:
        texts = read_catalogue(path)
        return [text for text in texts if len(text.split()) >= FEWEST_WORDS]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = json.dumps({"post_id": "...", "text": "..."})
        raise UserError(f"no usable posts in {path}: {error!r}; it takes a line of {wanted} for every post") from error


def held_out_posts(most: int, seed: int) -> list[str]:
    """Posts of the catalogue that the default basis never saw, drawn at random.

    Raises:
        UserError: the catalogue is missing or broken.
    """
    posts = load_catalogue().held_out
    return [posts[i].text for i in np.random.default_rng(seed).permutation(len(posts))[:most]]


def folds_of(texts: Sequence[str], folds: int, prompts: int, seed: int) -> list[Split]:
    """Every post is measured once, by prompts that were trained on the other folds' posts.

    Raises:
        UserError: too few posts to train so many prompts.
    """
    fewest = max(folds, FEWEST_A_PROMPT * prompts * folds // (folds - 1) + 1)
    if len(texts) < fewest:
        raise UserError(f"{len(texts)} posts are too few for {prompts} prompts in {folds} folds: it takes {fewest}")
    parts = np.array_split(np.random.default_rng(seed).permutation(len(texts)), folds)
    return [(np.concatenate([*parts[:at], *parts[at + 1 :]]), held) for at, held in enumerate(parts)]
