"""The JSON and the words of a run."""

from loadtests.facts import Work
from loadtests.outcome import LoadOutcome, in_words


def test_the_json_has_the_figures_that_are_promised() -> None:
    outcome = LoadOutcome("readers", 20, 120.0, [], [], Work(100, 60, 0.1, 0.4, 3), 1.5, 80.0, 85.0)
    figures = outcome.as_json()
    assert figures["freshness_s"] == {"p50": 0.1, "p95": 0.4}
    assert (figures["unlearned"], figures["learned_within_s"], figures["failures"]) == (3, 1.5, 0)
    assert (figures["tokens_per_s"], figures["engine_alone_tokens_per_s"]) == (80.0, 85.0)


def test_what_is_not_known_is_not_told() -> None:
    outcome = LoadOutcome("ingestion", 1, 5.0, [], [], Work(None, None, None, None))
    said = in_words(outcome)
    assert "engine" not in said
    assert "after the last reaction" not in said
    assert outcome.as_json()["unlearned"] is None
