import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slop.stylometrics import MEASURES, stylometrics
from training import CATALOGUE


def of(text: str) -> dict[str, float]:
    return dict(zip(MEASURES, stylometrics(text), strict=True))


def test_words_of_english_posts_are_what_hyphens_and_spaces_part() -> None:
    for line in CATALOGUE.read_text().splitlines()[:300]:
        text = json.loads(line)["text"]
        words = re.findall(r"[\w']+", text)
        assert (of(text)["words"], of(text)["word length"]) == (
            math.log(len(words)),
            sum(map(len, words)) / len(words),
        )


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("今天天气很好，我们去公园散步。", "The weather is fine, so we walk."),
        ("今日は天気がいいから、公園を歩く。", "The weather is fine, so I walk there."),
        ("ฉันไปเดินเล่นที่สวนสาธารณะ", "I went for a walk there."),
        ("😂😂👍🏽👩‍👩‍👧‍👦", "so very funny indeed"),
    ],
)
def test_a_text_without_spaces_has_about_as_many_words_as_an_english_one(text: str, same: str) -> None:
    assert of(text)["words"] == pytest.approx(of(same)["words"], abs=0.5)
    assert 1 <= of(text)["word length"] <= 10


def test_marks_of_other_scripts_count_as_those_of_english() -> None:
    marks = ("question mark", "exclamation", "comma", "period", "colon", "quote")
    english, chinese = of('a? b! c, d. e: "f"'), of("啊？吧！吃，的。呃：「夫」")
    assert [chinese[mark] for mark in marks] == [english[mark] for mark in marks]


def test_vowels_above_a_letter_do_not_end_a_word() -> None:
    assert of("नमस्ते")["words"] == 0.0 == of("ที่")["words"]
    assert of("नमस्ते दुनिया")["words"] == math.log(2)


@given(st.text(st.characters(), max_size=200))
def test_any_text_has_finite_measures(text: str) -> None:
    measures = stylometrics(text)
    assert len(measures) == len(MEASURES)
    assert np.isfinite(measures).all()
