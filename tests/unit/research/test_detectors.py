"""The two measures of what a text is of."""

from collections.abc import Sequence

import pytest

from client.catalogue import load_catalogue
from client.errors import UserError
from research.detectors import Classifier, accuracy, detected, either, on_taste, once, shape


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Fed the sourdough at six and the kitchen smells of fresh bread and butter already.", "cooking"),
        ("My bishop was pinned, the rook hung, and then my opponent resigned. Chess is strange.", "chess"),
        ("Is it rude to hum in an elevator? Who decides?", "question"),
        ("THE BUS CAME ON TIME!!! I have never been SO HAPPY!", "excited"),
        ("1. Open the door.\n2. Forget why.\n3. Close it again.", "list"),
        ("New curtains at last. #home #slow #sunday", "hashtags"),
        ("a spoon in the sink\nthe water runs over it\nnobody is home", "verse"),
        ("Confession: I wave at trains, and I am forty.", "confession"),
    ],
)
def test_the_detectors_name_hand_written_posts(text: str, label: str) -> None:
    assert on_taste(detected, [text], [label]) == [True]


def test_the_detectors_leave_a_post_of_nothing_alone() -> None:
    assert detected(["Nothing much happened today, and nobody minded."]) == [set()]


def test_a_text_is_on_taste_if_any_of_its_classes_is_wanted() -> None:
    texts = ["Is a rook worth more than a bishop in chess?", "Good night."]
    assert on_taste(detected, texts, ["question"]) == [True, False]
    assert on_taste(detected, texts, ["chess", "dogs"]) == [True, False]


def test_what_either_of_two_measures_finds_counts() -> None:
    topic, style = (lambda texts: [{"music"} for _ in texts]), (lambda texts: [{text} for text in texts])
    assert either(topic, style)(["verse", "none"]) == [{"music", "verse"}, {"music", "none"}]
    assert either(topic, style)([]) == []


def test_the_shape_of_a_text_keeps_marks_and_lines_but_no_words() -> None:
    assert shape("1. Open THE door!\n#ouch") == "N. Uw C w!\n#w"


def test_the_classifier_gives_no_class_for_no_text() -> None:
    assert Classifier.trained_on([])([]) == []


def test_the_classifier_trained_on_held_out_posts_knows_the_others() -> None:
    try:
        catalogue = load_catalogue()
    except UserError:
        pytest.skip("the catalogue's posts are not written yet")
    classifier = Classifier.trained_on(catalogue.held_out)
    assert not {post.post_id for post in catalogue.held_out} & {post.post_id for post in catalogue.shown}
    assert accuracy(classifier, catalogue.shown) > 0.7


def test_a_measure_that_is_asked_again_looks_at_each_text_once() -> None:
    looked: list[str] = []

    def slow(texts: Sequence[str]) -> list[set[str]]:
        looked.extend(texts)
        return [{text[0]} for text in texts]

    measure = once(slow, ["ab", "cd", "ab"])
    assert measure(["cd", "ab", "cd"]) == [{"c"}, {"a"}, {"c"}]
    assert measure([]) == []
    assert looked == ["ab", "cd"]
