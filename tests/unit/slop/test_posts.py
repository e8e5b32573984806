import pytest

from slop.posts import PostText

GENERATED = PostText("a post", "soft", "ann")


def test_an_arm_counts_for_the_reader_whom_its_post_was_written_for() -> None:
    assert [GENERATED.arm_for("ann"), GENERATED.arm_for("bob")] == ["soft", ""]


def test_a_post_that_no_arm_wrote_has_none_for_anybody() -> None:
    assert PostText("a post").arm_for("ann") == ""


@pytest.mark.parametrize("known", [None, PostText("another", "soft", "ann"), PostText("a post")])
def test_a_generated_post_adds_to_what_knows_less(known: PostText | None) -> None:
    assert GENERATED.adds_to(known)


def test_what_is_known_already_adds_nothing() -> None:
    assert not GENERATED.adds_to(GENERATED)


def test_the_same_text_from_a_client_takes_no_arm_away() -> None:
    assert not PostText("a post").adds_to(GENERATED)


def test_another_text_from_a_client_is_no_longer_the_arms() -> None:
    assert PostText("my own words").adds_to(GENERATED)
