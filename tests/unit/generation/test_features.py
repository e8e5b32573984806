"""What the featurizer answers is used only if it is what was asked for."""

from typing import Any

import pytest

from generation.features import _checked, _checked_embeddings
from kit.problems import Problem

ANSWER: dict[str, Any] = {"basis": "b", "features": [[1.0, 2.0], None], "embeddings": [[0.6, 0.8, 0.0], None]}


def read(**changed: Any) -> tuple[list[object], list[object]]:
    answer = {name: value for name, value in (ANSWER | changed).items() if value != "lacking"}
    features = _checked(answer, "b", (2, 2))
    embeddings = _checked_embeddings(answer, [row is not None for row in features])
    return [None if x is None else x.tolist() for x in features], [
        None if x is None else x.tolist() for x in embeddings
    ]


def test_features_and_embeddings_are_read_and_none_of_a_text_that_has_none() -> None:
    features, embeddings = read()
    assert features == [[1.0, 2.0], None]
    assert embeddings == [pytest.approx([0.6, 0.8, 0.0]), None]
    assert read(embeddings=[[0.0, 0.0], None])[1] == [[0.0, 0.0], None]
    assert read(features=[None, None], embeddings=[None, None])[1] == [None, None]


@pytest.mark.parametrize(
    "changed",
    [
        {"basis": "another"},
        {"features": [[1.0, 2.0]]},
        {"features": [[1.0], None]},
        {"features": [[1.0, None], None]},
        {"embeddings": "lacking"},  # a featurizer of an earlier release
        {"embeddings": None},
        {"embeddings": [[0.6, 0.8]]},
        {"embeddings": [[0.6, 0.8], [0.6, 0.8]]},
        {"embeddings": [None, None]},
        {"embeddings": [[0.6, "?"], None]},
        {"embeddings": [[0.6, None], None]},
        {"embeddings": [[6.0, 8.0], None]},
        {"embeddings": [[[0.6, 0.8]], None]},
        {"features": [[1.0, 2.0]] * 2, "embeddings": [[0.6, 0.8], [1.0]]},
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_a_problem(changed: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        read(**changed)


@pytest.mark.parametrize("answer", [None, [], {}, "features"])
def test_an_answer_that_is_no_answer_is_a_problem(answer: Any) -> None:
    with pytest.raises(Problem):
        _checked(answer, "b", (2, 2))
