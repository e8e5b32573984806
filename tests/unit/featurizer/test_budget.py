from featurizer.budget import LONG, Budget, Wanted, cost_of
from slop.redis.posts import PostRef


def post(name: str) -> PostRef:
    return PostRef("t", name)


def asked(**readers: str) -> list[Wanted]:
    return [Wanted(reader, post(name)) for reader, names in readers.items() for name in names.split()]


def names(allotted: set[PostRef]) -> set[str]:
    return {ref.post_id for ref in allotted}


def test_every_reader_gets_a_first_post_before_one_gets_a_second() -> None:
    assert names(Budget(3, 3).allot(asked(mallory="a b c d", ann="e", bob="f"))) == {"a", "e", "f"}


def test_one_reader_gets_so_many_and_the_rest_is_left_to_others() -> None:
    assert names(Budget(10, 2).allot(asked(mallory="a b c d", ann="e"))) == {"a", "b", "e"}


def test_a_post_that_several_ask_for_is_paid_for_once() -> None:
    assert names(Budget(2, 1).allot(asked(ann="a", bob="a b"))) == {"a", "b"}


def test_what_is_spent_is_spent_for_the_whole_batch() -> None:
    budget = Budget(3, 2)
    budget.allot(asked(ann="a b"))
    assert names(budget.allot(asked(ann="c", bob="d e"))) == {"d"}


def test_long_texts_cost_more_and_make_way_for_short_ones() -> None:
    texts = {"long": "x" * 20 * LONG, "short": "x", "longer": "x" * LONG}
    wanted = [Wanted("ann", post(name), cost_of(text)) for name, text in texts.items()]
    assert [one.cost for one in wanted] == [21, 1, 2]
    assert names(Budget(8, 4).allot(wanted)) == {"short", "longer"}
    assert names(Budget(8, 2).allot(wanted)) == {"short"}
