from generation.variety import POSTS, Variety
from slop.arms import Arm
from tests.samples import sample


def test_each_arm_shows_the_variety_of_its_own_last_posts() -> None:
    variety = Variety()
    variety.add(Arm.SOFT, ["the dog barks"] * POSTS)
    variety.add(Arm.BASE, ["the dog barks", "a star shines"])
    assert sample("slop_generated_distinct2", arm="soft") == 2 / (2 * POSTS)
    assert sample("slop_generated_distinct2", arm="base") == 1
    variety.add(Arm.SOFT, [f"post number {n}" for n in range(POSTS)])
    assert sample("slop_generated_distinct2", arm="soft") > 0.5
