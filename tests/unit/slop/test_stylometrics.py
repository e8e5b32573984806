import numpy as np
import pytest

from slop.stylometrics import MEASURES, stylometrics


def test_stylometrics_tell_styles_apart_and_ignore_the_subject() -> None:
    question, other_question = stylometrics("Why do dogs bark?"), stylometrics("Why do stars fade?")
    shout = stylometrics("DOGS BARK!!!")
    assert len(question) == len(shout)
    assert np.abs(np.subtract(question, other_question)).sum() < np.abs(np.subtract(question, shout)).sum()


def test_stylometrics_of_an_empty_post_are_finite() -> None:
    assert np.isfinite(stylometrics("")).all()


@pytest.mark.parametrize("text", ["", "x" * 20_000, "!" * 20_000, "🎉🎉", "\ud800", "今天天气很好，我们去公园散步。"])
def test_any_text_has_every_measure_and_all_are_finite(text: str) -> None:
    measures = stylometrics(text)
    assert len(measures) == len(MEASURES)
    assert np.isfinite(measures).all()


def test_words_of_a_script_without_spaces_are_as_long_as_people_read_them() -> None:
    place = MEASURES.index("word length")
    assert stylometrics("今天天气很好，我们去公园散步。")[place] < 4
