from slop.redis.posts import PostText

GENERATED = PostText("a post", "soft", "ann", "autumn")


def test_an_arm_counts_for_the_reader_whom_its_post_was_written_for() -> None:
    assert [GENERATED.arm_for("ann"), GENERATED.arm_for("bob")] == ["soft", ""]
    assert [GENERATED.experiment_for("ann"), GENERATED.experiment_for("bob")] == ["autumn", ""]


def test_a_post_that_no_arm_wrote_has_none_for_anybody() -> None:
    assert PostText("a post").arm_for("ann") == ""
