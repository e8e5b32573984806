"""From texts to the table, the JSON and the plot."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from client.catalogue import Post
from client.readers import Reaction, Reader
from client.rest import ProfileInWords
from client.texts import TextScore
from research.closed_loop import LoopOutcome, Person
from research.detectors import detected
from research.figures import Figures, Scorer, figures_of, held_out_of_tastes, sampled_texts
from research.metrics import Latency
from research.report import as_json, in_words, save_plot, show_people, taste_table, text_table

CHESS = "My rook took the bishop on the chess board and the opponent resigned."
CURRY = "The curry needed more garlic and the onion needed more butter today."
PLAIN = "Nothing much happened today and nobody minded that very much."
OTHER = "Some days go by slowly while others simply forget to begin."


def _people() -> list[Person]:
    shown = Post("p", CHESS, "chess")
    return [
        Person(Reader("u0", ("chess",), 1.0), [Reaction(shown, "like", None, True)]),
        Person(Reader("u1", ("cooking",), 1.0), [Reaction(shown, "skip", None, False)]),
    ]


@pytest.fixture
def outcome() -> LoopOutcome:
    return LoopOutcome(
        control=[[PLAIN, CURRY], [OTHER, PLAIN]],
        soft={0: [[PLAIN, OTHER], [PLAIN, OTHER]], 4: [[CHESS, CHESS], [CURRY, PLAIN]]},
        history={4: [[CHESS], [PLAIN]]},
        profiles=[ProfileInWords(4, [(0.75, ["rook", "pawn"])]), ProfileInWords(4, [])],
    )


@pytest.fixture
def figures(outcome: LoopOutcome) -> Figures:
    scorer = Scorer({text: TextScore(-20.0 if text == PLAIN else -30.0, 10) for text in (CHESS, CURRY, PLAIN, OTHER)})
    return figures_of(_people(), outcome, (detected, detected), scorer, [CHESS])


def test_shares_are_of_each_readers_own_tastes(figures: Figures) -> None:
    assert [row.main.soft.mean for row in figures.rows] == [0.0, 0.75]
    assert figures.rows[1].main.history.mean == 0.5


def test_every_control_post_is_judged_for_every_reader(figures: Figures) -> None:
    assert [row.main.control.mean for row in figures.rows] == [0.125, 0.125]


def test_without_a_history_its_baseline_is_the_control_arm(figures: Figures) -> None:
    assert figures.rows[0].main.history.mean == 0.0
    assert figures.rows[0].history_perplexity == figures.control_perplexity


def test_copies_of_what_a_reader_liked_are_counted(figures: Figures) -> None:
    assert figures.rows[0].near_copies == 0.0
    assert figures.rows[1].near_copies == 1.0


def test_perplexity_is_compared_with_control(figures: Figures) -> None:
    assert figures.rows[1].perplexity_ratio == pytest.approx(figures.rows[1].perplexity / figures.control_perplexity)
    assert figures.rows[1].perplexity > figures.rows[0].perplexity


def test_repeated_posts_cost_variety(figures: Figures) -> None:
    assert figures.rows[1].distinct2_ratio < 1.0


def test_held_out_posts_are_of_the_readers_tastes() -> None:
    held_out = [Post(str(i), f"{label} {i}", label) for i in range(3) for label in ("chess", "cooking", "dogs")]
    readers = [person.reader for person in _people()]
    assert held_out_of_tastes(readers, held_out, 2) == ["chess 0", "chess 1", "cooking 0", "cooking 1"]


def test_the_json_has_the_promised_keys(figures: Figures) -> None:
    content = as_json(figures, Latency(1.0, 2.0), {"seed": 0, "model": "m"})
    promised = {"interactions", "share_on_taste", "share_control", "share_history", "interval", "ppl_ratio"}
    assert promised | {"distinct2_ratio"} <= content["rows"][0].keys()
    assert content["freshness_ms"] == {"p50": 1.0, "p95": 2.0}
    assert (content["seed"], content["model"]) == (0, "m")


def test_the_table_and_the_posts_are_printed_as_they_are(figures: Figures, outcome: LoopOutcome) -> None:
    outcome.soft[4][0][0] = "[bold]not a tag[/bold]"
    console = Console(width=120, file=StringIO())
    console.print(taste_table(figures.rows), text_table(figures.rows))
    show_people(console, _people(), outcome)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "0.75" in printed
    assert "[bold]not a tag[/bold]" in printed
    assert "75% rook, pawn" in printed


def test_a_profile_without_tastes_says_so() -> None:
    assert in_words(ProfileInWords(0, [])) == "nothing learned yet"


def test_the_plot_is_a_png(figures: Figures, tmp_path: Path) -> None:
    save_plot(tmp_path / "new" / "plot.png", figures.rows, "note")
    assert (tmp_path / "new" / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_sample_has_the_same_number_of_posts_of_every_reader_and_more_where_it_is_judged(
    outcome: LoopOutcome,
) -> None:
    control = [PLAIN, CURRY, OTHER, PLAIN]
    assert sampled_texts(outcome, 1, judged_at=16) == [*control, PLAIN, PLAIN, CHESS, CURRY, CHESS, PLAIN]
    assert sampled_texts(outcome, 1, judged_at=4) == [*control, CHESS, CHESS, CURRY, PLAIN, PLAIN, PLAIN, CHESS, PLAIN]


def test_a_perplexity_is_that_of_the_scored_texts() -> None:
    scorer = Scorer({PLAIN: TextScore(-20.0, 10)})

    assert scorer.perplexity([PLAIN, CHESS]) == scorer.perplexity([PLAIN])
