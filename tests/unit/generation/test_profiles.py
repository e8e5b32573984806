from dataclasses import replace

import numpy as np
import pytest

from generation.profiles import tastes, uncertainty
from slop.profiles import Profile
from tests.basis import profile_of, random_basis

BASIS = random_basis()


def test_tastes_come_strongest_first_in_the_words_of_their_clusters() -> None:
    told = list(tastes(profile_of(BASIS, (1.0, -3.0, 2.0, 0.1)), BASIS))
    assert [taste.words for taste in told] == [
        ["cooking", "soup", "onions", "small"],
        ["gardening", "tomatoes", "soil", "small"],
    ]
    assert [taste.share for taste in told] == [pytest.approx(8 / 9, abs=1e-3), pytest.approx(1 / 9, abs=1e-3)]


def test_a_reader_who_likes_nothing_has_no_tastes() -> None:
    assert list(tastes(profile_of(BASIS, (-1.0, -1.0, 0.0, -0.5)), BASIS)) == []


def test_nothing_is_known_of_a_new_reader() -> None:
    profile = Profile.new(BASIS.version, BASIS.prior(0.7, 0.5, 1.0))
    assert uncertainty(profile, BASIS.size, 0.7) == 1.0


def test_uncertainty_is_relative_to_the_prior_and_leaves_the_bias_out() -> None:
    profile = profile_of(BASIS, (0, 0, 0, 0))
    variance = np.array([0.25, 0.25, 0.25, 0.25, 9.0], np.float32)
    assert uncertainty(replace(profile, variance=variance), BASIS.size, 1.0) == 0.5
