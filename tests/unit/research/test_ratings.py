"""Real ratings, as far as the folder format and the split go."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from client.errors import UserError
from research.ratings import RatedJokes, chosen_raters, crowd_means, load_ratings

DATA = RatedJokes(
    {f"j{i}": f"joke {i}" for i in range(30)},
    {f"u{u}": {f"j{i}": float((i * (u + 1)) % 7 - 3) for i in range(30 if u else 12)} for u in range(5)},
)


def _write(folder: Path, rows: str) -> None:
    (folder / "jokes.json").write_text(json.dumps({"j1": "one", "j2": "two"}))
    with gzip.open(folder / "ratings.csv.gz", "wt") as file:
        file.write("user_id,joke_id,rating\n" + rows)


def test_a_folder_is_read(tmp_path: Path) -> None:
    _write(tmp_path, "a,j1,-1.60\na,j2,3\nb,j1,10\n")
    data = load_ratings(tmp_path)
    assert data.ratings == {"a": {"j1": -1.6, "j2": 3.0}, "b": {"j1": 10.0}}


@pytest.mark.parametrize("rows", ["a,j1,11\n", "a,j1,nan\n", "a,j1,funny\n", "a,j9,1\n", "a,j1\n"])
def test_broken_ratings_are_an_error(tmp_path: Path, rows: str) -> None:
    _write(tmp_path, rows)
    with pytest.raises(UserError):
        load_ratings(tmp_path)


def test_a_missing_folder_is_an_error_that_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"DATA=folder with jokes\.json"):
        load_ratings(tmp_path / "nowhere")


def test_only_people_with_enough_ratings_are_chosen_and_nothing_is_both_sent_and_ranked() -> None:
    raters = chosen_raters(DATA, 10, 10, np.random.default_rng(0))
    assert set(raters) == {"u1", "u2", "u3", "u4"}
    for user, rater in raters.items():
        assert len(rater.order) == 10
        assert dict(rater.order) | rater.rest == DATA.ratings[user]
        assert not dict(rater.order).keys() & rater.rest.keys()


def test_nobody_with_enough_ratings_is_an_error() -> None:
    with pytest.raises(UserError, match="nobody"):
        chosen_raters(DATA, 10, 40, np.random.default_rng(0))


def test_the_crowd_is_everybody_but_the_people_who_are_replayed() -> None:
    assert crowd_means(DATA, ["u0", "u1", "u2"])["j5"] == (DATA.ratings["u3"]["j5"] + DATA.ratings["u4"]["j5"]) / 2
    assert crowd_means(DATA, DATA.ratings)["j5"] == 0.0


def test_agreement_is_full_with_ones_own_ratings() -> None:
    rater = chosen_raters(DATA, 1, 10, np.random.default_rng(0)).popitem()[1]
    assert rater.agreement(rater.rest) == 1.0
