from featurizer.budget import BatchLimits
from slop.redis.parking import ParkingLimits
from tests.featurizers import featurizer_settings


def test_what_may_be_parked_and_for_how_long_is_set() -> None:
    chosen = featurizer_settings(
        featurizer_parked=7, featurizer_parked_of_post=3, featurizer_parked_of_reader=2, featurizer_parking_s=60
    )
    assert chosen.parking_bounds() == ParkingLimits(of_post=3, of_reader=2, in_all=7, expiry_ms=60_000)


def test_what_a_batch_waits_for_is_set() -> None:
    chosen = featurizer_settings(featurizer_inline_posts=5, featurizer_inline_posts_of_reader=1, featurizer_late_s=1.5)
    assert chosen.batch_limits() == BatchLimits(posts=5, posts_of_reader=1, late_ms=1_500)
