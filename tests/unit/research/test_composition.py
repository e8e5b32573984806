"""The composition study: which prompts are chosen, what is asked, and how posts become the table."""

import base64
import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from client.catalogue import load_catalogue
from client.chats import Message
from client.classes import load_classes
from client.errors import UserError
from client.texts import Sampling, TextScore, WrittenTexts
from research.composition import report
from research.composition.__main__ import CompositionSettings, _spread, examples_of, load_bases, written
from research.composition.arms import (
    ARMS,
    CONCATENATED,
    MIXTURE,
    PLAIN,
    STYLE_SUBJECT,
    TEXT,
    Asking,
    Pair,
    pairs_of,
)
from research.composition.choice import Chosen, mixture_loss, strongest
from research.composition.figures import KEYWORDS, classified, rows_of, shares
from research.detectors import NO_STYLE, Classifier
from research.figures import Scorer
from research.metrics import Estimate
from research.screen import progress_on
from slop.soft_prompts import UnsafeSoftPrompt
from tests.basis import basis_of, random_basis, random_style_subject
from tests.tiny_model import tiny_model

STYLES = [name for name, spec in load_classes().items() if spec.kind == "style"]
TOPICS = [name for name, spec in load_classes().items() if spec.kind == "topic"]
PAIR = Pair("question", "chess")
BASIS, STYLE_SUBJECT_BASIS = random_basis(), random_style_subject()
CERTAIN = Estimate(2.5, 2.4, 2.6)
CHOSEN = Chosen({"chess": 1, "question": 3}, {"question": 2}, {"chess": 1}, CERTAIN, CERTAIN)
ASKING = Asking(BASIS, STYLE_SUBJECT_BASIS, CHOSEN)
BOTH = "Is a rook worth more than a bishop in chess?"
ONLY_TOPIC = "My bishop was pinned, the rook hung, and then my opponent resigned. Chess is strange."
ONLY_STYLE = "Is it rude to hum in an elevator? Who decides?"
NEITHER = "Nothing much happened today, and nobody minded."
PAIRS = [PAIR, Pair("excited", "chess")]


def tensor_of(messages: Sequence[Message], folder: Path) -> np.ndarray:
    [part] = messages[0]["content"]
    (folder / "t").write_bytes(base64.b64decode(part["data"]))
    assert part["type"] == "prompt_embeds"
    return np.asarray(torch.load(folder / "t", weights_only=True))


def test_pairs_differ_and_every_style_and_topic_has_its_turn() -> None:
    pairs = pairs_of(STYLES, TOPICS, 36, seed=0)
    assert len(set(pairs)) == 36
    assert set(Counter(pair.style for pair in pairs).values()) == {6}
    assert set(Counter(pair.topic for pair in pairs).values()) <= {1, 2, 3, 4}
    assert {pair.topic for pair in pairs} == set(TOPICS)


def test_a_seed_gives_the_same_pairs_and_no_more_than_there_are() -> None:
    assert pairs_of(STYLES, TOPICS, 12, seed=1) == pairs_of(STYLES, TOPICS, 12, seed=1)
    assert pairs_of(STYLES, TOPICS, 12, seed=1) != pairs_of(STYLES, TOPICS, 12, seed=2)
    assert len(set(pairs_of(STYLES, TOPICS, 1_000, seed=0))) == len(STYLES) * len(TOPICS)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_asks_for_all_posts_with_the_same_request(arm: str) -> None:
    requests = ASKING.requests(arm, PAIR, 8)
    assert sum(request.posts for request in requests) == 8
    assert {request.messages[-1]["content"] for request in requests} == {BASIS.template.request}
    assert {request.messages[0]["role"] for request in requests} == {"system"}


def test_soft_arms_send_the_prompts_that_were_chosen(tmp_path: Path) -> None:
    sent = {
        arm: [tensor_of(request.messages, tmp_path) for request in ASKING.requests(arm, PAIR, 8)]
        for arm in (MIXTURE, CONCATENATED, STYLE_SUBJECT)
    }
    topic, style = BASIS.prompts[1], BASIS.prompts[3]
    np.testing.assert_array_equal(sent[MIXTURE], [topic, style])
    np.testing.assert_array_equal(sent[CONCATENATED], [np.concatenate([style, topic])])
    np.testing.assert_array_equal(sent[STYLE_SUBJECT], [STYLE_SUBJECT_BASIS.prompt(2, 1)])
    assert [ASKING.rows(arm) for arm in ARMS] == [0, 0, 5, 10, 5]


def test_text_names_the_topics_words_and_the_styles_description_and_plain_neither() -> None:
    [plain], [text] = (ASKING.requests(arm, PAIR, 8) for arm in (PLAIN, TEXT))
    assert plain.messages[0]["content"] == BASIS.template.plain_system
    said = text.messages[0]["content"]
    assert said.startswith("You write short posts for a social feed about football, goals, match, small. ")
    assert said.endswith(load_classes()["question"].description)


def test_a_prompt_that_must_not_reach_the_engine_is_not_sent() -> None:
    basis = random_basis()
    basis.prompts[1, 0, 0] = np.nan
    with pytest.raises(UnsafeSoftPrompt):
        Asking(basis, STYLE_SUBJECT_BASIS, CHOSEN).requests(CONCATENATED, PAIR, 8)


def test_a_class_chooses_what_its_posts_have_more_to_do_with_than_others() -> None:
    shares_of = {"a": np.array([[0.6, 0.4, 0.0]]), "b": np.array([[0.6, 0.0, 0.4], [0.8, 0.0, 0.2]])}
    assert strongest(shares_of) == {"a": 1, "b": 2}


def test_a_basis_costs_what_the_mean_of_its_prompts_likelihoods_says() -> None:
    logs = {"a": np.log([[0.5, 0.25]]), "b": np.log([[0.1, 0.1]])}
    found = mixture_loss(logs, {"a": [1], "b": [2]})
    assert found.mean == pytest.approx((-np.log(0.375) - np.log(0.1) / 2) / 2)
    far = mixture_loss({"a": np.array([[-3_000.0, -4_000.0]])}, {"a": [10]})
    assert far.mean == pytest.approx(300 + np.log(2) / 10)


def test_posts_choose_the_prompts_that_were_begun_from_their_words() -> None:
    model = tiny_model()
    liked = {"dog": ["dog dog dog dog", "dog dog dog"], "star": ["star star star", "star star star star"]}
    rows = [float(3) * model.embed_words(f"{name} {name} {name}", 3).numpy() for name in liked]
    singles = basis_of(np.stack(rows), ["dog barks", "star shines"])
    style_subject = random_style_subject(styles=2, subjects=3)
    with progress_on(Console(quiet=True)) as progress:
        chosen = Chosen.by(liked, model, singles, style_subject, progress)
        again = Chosen.by(liked, model, singles, style_subject, progress)
    assert chosen == again
    assert set(chosen.prompts) == set(chosen.styles) == set(chosen.subjects) == set(liked)
    assert sorted(chosen.prompts.values()) == [0, 1]
    assert set(chosen.styles.values()) <= {0, 1}
    assert chosen.loss.low <= chosen.loss.mean <= chosen.loss.high


def test_both_is_a_style_and_a_topic_in_the_same_post() -> None:
    found = shares(KEYWORDS, PAIRS, [[BOTH, ONLY_TOPIC], [ONLY_STYLE, NEITHER]])
    assert (found.topic, found.style, found.both) == ([1.0, 0.0], [0.5, 0.0], [0.5, 0.0])
    apart = shares(KEYWORDS, [PAIR], [[ONLY_TOPIC, ONLY_STYLE]])
    assert (apart.topic, apart.style, apart.both) == ([0.5], [0.5], [0.0])


def test_each_classifier_knows_its_own_kind_in_posts_that_have_both() -> None:
    held_out = load_catalogue().held_out
    topics, styles = Classifier.of_topics(held_out), Classifier.of_styles(held_out)
    assert topics([BOTH, ONLY_TOPIC]) == [{"chess"}, {"chess"}]
    assert styles([BOTH, ONLY_STYLE, ONLY_TOPIC]) == [{"question"}, {"question"}, {NO_STYLE}]
    found = shares(classified(topics, styles), [PAIR], [[BOTH, ONLY_TOPIC]])
    assert (found.topic, found.style, found.both) == ([1.0], [0.5], [0.5])


def rows() -> list[Any]:
    posts = {arm: [[BOTH, ONLY_TOPIC], [NEITHER, NEITHER]] for arm in ARMS} | {
        PLAIN: [[NEITHER, NEITHER], [NEITHER, NEITHER]]
    }
    scores = {text: TextScore(-20.0, 10) for text in (BOTH, NEITHER)} | {ONLY_TOPIC: TextScore(-30.0, 10)}
    virtual_tokens = {arm: ASKING.rows(arm) for arm in ARMS}
    return rows_of(PAIRS, posts, virtual_tokens, (KEYWORDS, KEYWORDS), Scorer(scores))


def test_a_row_has_shares_over_pairs_and_how_far_ahead_the_arm_of_style_subject_prompts_is() -> None:
    by_arm = {row.arm: row for row in rows()}
    topic, style, both = by_arm[STYLE_SUBJECT].keywords
    assert (topic.mean, style.mean, both.mean) == (0.5, 0.25, 0.25)
    assert (both.low, both.high) == (0.0, 0.5)
    assert (by_arm[STYLE_SUBJECT].ahead.mean, by_arm[PLAIN].ahead.mean) == (0.0, 0.25)
    assert by_arm[PLAIN].perplexity.mean == pytest.approx(np.exp(2))
    assert by_arm[STYLE_SUBJECT].perplexity.mean == pytest.approx(np.exp(2.25))
    assert by_arm[PLAIN].distinct2.mean == 0.5


def test_perplexity_is_of_posts_from_both_halves_of_a_pair() -> None:
    assert list(_spread("abcdefgh", 4)) == list("aceg")
    assert list(_spread("abc", 8)) == list("abc")


class Echo:
    """Answers with what it was asked for, the first requests last."""

    async def write(self, messages: Sequence[Message], posts: int, sampling: Sampling) -> WrittenTexts:
        return WrittenTexts([str(messages[0]["content"]).rsplit(" ", maxsplit=4)[-1]] * posts, 0)


async def test_posts_come_in_the_order_of_the_pairs() -> None:
    settings = CompositionSettings(_cli_parse_args=False, posts=3)
    pairs = [Pair("question", "chess"), Pair("list", "chess"), Pair("question", "chess")]
    texts = await written(Echo(), ASKING, TEXT, pairs, settings)  # type: ignore[arg-type]
    ends = [load_classes()[pair.style].description.rsplit(" ", maxsplit=1)[-1] for pair in pairs]
    assert texts == [[end] * 3 for end in ends]


ABOUT: dict[str, Any] = {
    "model": "tiny",
    "pairs": 2,
    "posts": 2,
    "liked": 6,
    "seed": 0,
    "classifier_accuracy": {"topics": 0.9, "styles": 0.95},
    "held_out_loss": {name: {"mean": 2.5, "low": 2.4, "high": 2.6} for name in ("basis", "style_subject")},
    "examples": [{"pair": "question, chess", **dict.fromkeys(ARMS, "one | two\nthree")}],
}


def test_json_csv_markdown_and_plot_say_the_same(tmp_path: Path) -> None:
    report.show(Console(quiet=True), rows(), ABOUT, tmp_path / "new")
    written_json = json.loads((tmp_path / "new" / "composition.json").read_text())
    listed = list(csv.DictReader(io.StringIO((tmp_path / "new" / "composition.csv").read_text())))
    assert [{name: str(value) for name, value in row.items()} for row in written_json["rows"]] == listed
    assert [row["arm"] for row in listed] == list(ARMS)
    assert (listed[-1]["both"], listed[-1]["both_high"]) == ("0.25", "0.5")
    markdown = (tmp_path / "new" / "composition.md").read_text()
    assert "| style × subject | 5 | 0.50 (0.00-1.00) |" in markdown
    assert r"one \| two / three" in markdown
    assert (tmp_path / "new" / "composition.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_is_whole_on_a_narrow_screen() -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(report.table_of(rows()))
    console.print(report.legend(ABOUT))
    shown = console.export_text()
    assert "…" not in shown
    assert "2.500 (2.400-2.600)" in shown


def test_examples_have_the_first_post_of_every_arm() -> None:
    [first] = examples_of([PAIR], {arm: [[f"{arm} 1", f"{arm} 2"]] for arm in ARMS})
    assert first == {"pair": "question, chess", **{arm: f"{arm} 1" for arm in ARMS}}


def test_missing_style_subject_prompts_end_the_study_with_what_to_do(tmp_path: Path) -> None:
    settings = CompositionSettings(_cli_parse_args=False, style_subject=tmp_path)
    with pytest.raises(UserError, match="make style_subject"):
        load_bases(settings)


def test_options_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["composition"])
    monkeypatch.setenv("COMPOSITION_PAIRS", "3")
    settings = CompositionSettings()
    assert (settings.pairs, settings.sampling, settings.out.name) == (3, Sampling(0.8, 48, 0.05), "results")
