"""The cost study: what is asked, and how answers become the table."""

import base64
import csv
import io
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from client.catalogue import load_catalogue
from client.errors import UserError
from infra.local.settings import LocalSettings
from research.cost import report
from research.cost.__main__ import CostSettings, engine_settings, window_of
from research.cost.arms import ARMS, COUNTS, PLAIN, SOFT, Arm, StoredBytes, messages_of, rounds
from research.cost.engine import Answer, CostEngine, cached_tokens, chunk_of
from research.cost.figures import Middle, Sample, median_of, ratio_of, rows_of
from research.folders import RESULTS
from slop.basis import Template
from slop.settings import LearningSettings
from tests.basis import random_basis
from training import CATALOGUE
from training.basis.build import read_catalogue

TEMPLATE = Template()
PROMPT = np.arange(6, dtype=np.float32).reshape(2, 3)
TEXTS = [f"post {n}" for n in range(300)]
TURNS_10, TEXT_10 = (Arm(f"10 posts as {form}", 10) for form in ("turns", "text"))
ABOUT = {
    "model": "tiny",
    "vllm": "1",
    "device": "2 CPU cores",
    "load_before": 0.1,
    "repeats": 3,
    "seed": 0,
    "virtual_tokens": 13,
    "model_window": 8_192,
}


def messages(arm: Arm) -> list[dict[str, Any]]:
    return messages_of(arm, TEXTS, PROMPT, TEMPLATE)


def sample(cold_ms: float, tokens: int = 32, warm_ms: float = 5.0, cached: int = 0, stored: int = 245) -> Sample:
    return Sample(Answer(cold_ms, tokens, 0), Answer(warm_ms, tokens, cached), stored)


SAMPLES = {
    Arm(PLAIN): [sample(ms, tokens=28, stored=0) for ms in (9.0, 10.0, 11.0)],
    Arm(SOFT): [sample(ms) for ms in (10.0, 11.0, 12.0)],
    TURNS_10: [sample(ms, tokens=640, cached=576, stored=1_500) for ms in (110.0, 120.0, 900.0)],
    TEXT_10: [sample(ms, tokens=9_000, cached=9_000, stored=1_500) for ms in (210.0, 220.0, 230.0)],
}
ROWS = rows_of(SAMPLES, 8_192)


def test_every_number_of_posts_is_asked_for_in_both_forms_beside_the_plain_model_and_the_soft_prompt() -> None:
    assert [arm.name for arm in ARMS[:2]] == [PLAIN, SOFT]
    assert sorted(arm.posts for arm in ARMS[2:]) == sorted([*COUNTS, *COUNTS])
    assert len({arm.name for arm in ARMS}) == len(ARMS)


@pytest.mark.parametrize("arm", ARMS)
def test_every_chat_ends_with_the_request_and_has_the_arms_posts_and_no_other(arm: Arm) -> None:
    chat = messages(arm)
    words = json.dumps(chat).replace('"', " ").replace("\\n", " ").split()
    shown = [int(number) for post, number in pairwise(words) if post == "post" and number.isdigit()]
    assert chat[-1] == {"role": "user", "content": TEMPLATE.request}
    assert [message["role"] for message in chat[:1]] == ["system"]
    assert shown == list(range(arm.posts))


def test_posts_as_turns_are_what_the_assistant_wrote_before() -> None:
    chat = messages(TURNS_10)
    assert len(chat) == 22
    assert chat[1:3] == [
        {"role": "user", "content": TEMPLATE.request},
        {"role": "assistant", "content": "post 0"},
    ]


def test_posts_as_text_are_one_line_each_in_the_system_message() -> None:
    chat = messages_of(TEXT_10, ["one\n\npost", *TEXTS], PROMPT, TEMPLATE)
    system = chat[0]["content"].splitlines()
    assert len(chat) == 2
    assert system[0] == TEMPLATE.plain_system
    assert system[2:4] == ["- one post", "- post 0"]
    assert len(system) == 12


def test_the_soft_prompt_is_the_whole_system_message(tmp_path: Path) -> None:
    [part] = messages(Arm(SOFT))[0]["content"]
    (tmp_path / "t").write_bytes(base64.b64decode(part["data"]))
    assert part["type"] == "prompt_embeds"
    assert torch.load(tmp_path / "t", weights_only=True).numpy().tobytes() == PROMPT.tobytes()


def test_a_seed_gives_the_same_readers_and_no_reader_a_post_twice() -> None:
    first, again = (list(rounds(TEXTS, 4, 5, seed=3)) for _ in range(2))
    assert first == again
    assert first != list(rounds(TEXTS, 4, 5, seed=4))
    assert all(len(set(reader.liked)) == max(COUNTS) for reader in first)
    assert len({reader.liked for reader in first}) == 5


def test_every_repeat_asks_all_arms_and_not_always_in_the_same_order() -> None:
    readers = list(rounds(TEXTS, 4, 6, seed=0))
    assert all(set(reader.arms) == set(ARMS) for reader in readers)
    assert len({reader.arms for reader in readers}) > 1


def test_the_catalogue_has_enough_posts() -> None:
    texts = [post.text for post in load_catalogue().shown]
    assert texts == read_catalogue(CATALOGUE)
    assert len(next(rounds(texts, 4, 1, 0)).liked) == max(COUNTS)


def test_a_row_has_medians_and_ratios_to_the_soft_prompt() -> None:
    plain, soft, turns, text = ROWS
    assert turns.cold_ms.middle == 120.0
    assert turns.cold_ratio.middle == pytest.approx(120 / 11)
    assert (turns.tokens, turns.token_ratio, turns.stored_bytes) == (640, 20, 1_500)
    assert (turns.cold_cached, turns.warm_cached) == (0, 0.9)
    assert soft.cold_ratio == Middle(1, 1, 1)
    assert plain.cold_ratio.middle < 1
    assert [row.fits for row in (plain, soft, turns, text)] == [True, True, True, False]


def test_no_arm_is_said_to_be_too_long_for_a_model_whose_window_is_not_known() -> None:
    assert all(row.fits for row in rows_of(SAMPLES, None))


def test_the_interval_of_a_median_lies_within_the_values_and_holds_the_median() -> None:
    middle = median_of([5.0, 1.0, 3.0, 2.0, 100.0])
    assert middle.middle == 3.0
    assert 1.0 <= middle.low <= middle.middle <= middle.high <= 100.0


def test_the_interval_of_a_median_covers_the_true_one_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    middles = [median_of(rng.exponential(size=15).tolist()) for _ in range(100)]
    assert 85 <= sum(m.low <= np.log(2) <= m.high for m in middles) <= 100


def test_repeats_are_drawn_in_pairs_so_that_noise_that_both_share_cancels() -> None:
    slow = [1.0, 7.0, 3.0, 20.0]
    ratio = ratio_of([3 * ms for ms in slow], slow)
    assert (ratio.middle, ratio.low, ratio.high) == pytest.approx((3, 3, 3))


def test_a_profile_takes_the_same_bytes_for_every_reader_and_texts_take_what_they_are_long() -> None:
    basis = random_basis()
    stored = StoredBytes.under(basis, LearningSettings(_env_file=None))
    assert stored.of(Arm(SOFT), TEXTS) == stored.of(Arm(SOFT), ["é"])
    assert 8 * basis.dimensions < stored.of(Arm(SOFT), TEXTS) < 8 * basis.dimensions + 64
    assert stored.of(TURNS_10, ["é", *TEXTS]) == 2 + 9 * len("post 0")
    assert stored.of(Arm(PLAIN), TEXTS) == 0


def test_the_end_of_a_stream_is_passed_over_and_a_failure_is_not() -> None:
    assert chunk_of('{"choices": []}') == {"choices": []}
    assert chunk_of("[DONE]") == {}
    with pytest.raises(UserError, match="too long"):
        chunk_of('{"error": {"message": "too long"}}')


def test_cached_tokens_are_those_of_all_engines() -> None:
    lines = ["# TYPE vllm:prefix_cache_hits counter"]
    lines += [f'vllm:prefix_cache_hits_total{{engine="{n}"}} {n}.0' for n in (3, 4)]
    assert cached_tokens("\n".join([*lines, ""])) == 7
    assert cached_tokens("") == 0


class FakeEngine(BaseHTTPRequestHandler):
    """Answers as vLLM does, to those who ask as vLLM is asked."""

    status, context, lines = 200, 12_288, ["{}"]

    def do_GET(self) -> None:
        answers = {
            "/v1/models": json.dumps({"data": [{"id": "slop", "max_model_len": self.context}]}),
            "/version": '{"version": "0.32.0"}',
            "/metrics": 'vllm:prefix_cache_hits_total{engine="0"} 5.0\n',
        }
        self.answer(200, answers[self.path])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (body["max_tokens"], body["temperature"], body["cache_salt"]) == (1, 0, "salt")
        self.answer(self.status, "".join(f"data: {line}\n\n" for line in self.lines))

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream" if self.command == "POST" else "application/json")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def engine_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeEngine) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_an_answer_has_the_time_of_its_first_token_and_its_usage(
    engine_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, usage = {"choices": [{"delta": {"content": "A"}}]}, {"choices": [], "usage": {"prompt_tokens": 640}}
    monkeypatch.setattr(FakeEngine, "lines", [json.dumps(token), json.dumps(usage), "[DONE]"])
    with CostEngine(engine_url, 12_288, {}) as engine:
        answer = engine.ask(messages(TURNS_10), "salt")
        assert engine.version == "0.32.0"
    assert (answer.prompt_tokens, answer.cached_tokens) == (640, 0)
    assert answer.milliseconds > 0


@pytest.mark.parametrize(("status", "reason"), [(400, "answered 400"), (200, "no token, or no usage")])
def test_an_engine_that_does_not_answer_as_it_should_ends_the_study(
    status: int, reason: str, engine_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEngine, "status", status)
    with CostEngine(engine_url, 12_288, {}) as engine, pytest.raises(UserError, match=reason):
        engine.ask(messages(TURNS_10), "salt")


def test_a_running_engine_with_too_little_context_is_refused_with_what_to_do(
    engine_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEngine, "context", 1_024)
    advice = {"SLOP_VLLM_MAX_MODEL_LEN": "12288"}
    with pytest.raises(UserError, match=r"takes 1024 tokens.* need 12288.*SLOP_VLLM_MAX_MODEL_LEN='12288'"):
        CostEngine(engine_url, 12_288, advice)


def test_an_engine_that_is_away_ends_the_study() -> None:
    with pytest.raises(UserError, match="no answer from the engine"):
        CostEngine("http://127.0.0.1:1/v1", 1_024, {})


def test_a_vllm_started_here_goes_beyond_a_window_that_is_too_short_and_keeps_its_other_arguments() -> None:
    local = LocalSettings(_env_file=None, vllm_args="--enforce-eager --seed '1'")
    chosen = engine_settings(local, 12_288, 8_192)
    words = shlex.split(chosen["SLOP_VLLM_ARGS"])
    assert chosen["SLOP_VLLM_MAX_MODEL_LEN"] == "12288"
    assert words[:3] == ["--enforce-eager", "--seed", "1"]
    assert json.loads(words[words.index("--hf-overrides") + 1]) == {"max_position_embeddings": 12_288}
    for window in (32_768, None):
        assert "--hf-overrides" not in engine_settings(local, 12_288, window)["SLOP_VLLM_ARGS"]


def test_the_window_is_the_one_of_the_models_configuration(tmp_path: Path) -> None:
    assert window_of(str(tmp_path)) is None
    assert window_of("somebody/model") is None
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 8192}')
    assert window_of(str(tmp_path)) == 8_192


def test_the_table_is_whole_on_a_narrow_screen_and_marks_what_is_too_long() -> None:
    console = Console(width=120, file=io.StringIO(), record=True)
    slow = Middle(51_229.4, 46_108.1, 61_000.9)
    last = replace(ROWS[-1], arm=ARMS[-2].name, tokens=10_888, cold_ms=slow, warm_ms=slow, stored_bytes=29_860)
    console.print(report.table_of([*ROWS[:-1], last]))
    console.print(report.legend(ROWS, ABOUT))
    shown = console.export_text()
    assert "…" not in shown
    assert "200 posts as turns *" in shown
    assert shown.count("51,229 (46,108-61,001)") == 2
    assert "* longer than the model's 8,192 tokens" in " ".join(shown.split())
    assert "longer than" not in report.legend(ROWS[:3], ABOUT)


def test_the_markdown_has_a_line_for_every_arm_with_as_many_cells_as_headings() -> None:
    lines = [line for line in report.markdown_of(ROWS, ABOUT).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(ROWS)
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1].startswith(r"| 10 posts as text \* | 9,000 |")


def test_json_and_csv_say_the_same(tmp_path: Path) -> None:
    console = Console(quiet=True)
    report.show(console, ROWS, ABOUT, tmp_path / "new" / "cost.json")
    written = json.loads((tmp_path / "new" / "cost.json").read_text())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new" / "cost.csv").read_text())))
    assert [{name: str(value) for name, value in row.items()} for row in written["rows"]] == rows
    assert (written["seed"], written["repeats"], written["model"]) == (0, 3, "tiny")
    assert (tmp_path / "new" / "cost.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "new" / "cost.md").read_text().startswith("# What a personal post costs")


def test_options_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["cost"])
    monkeypatch.setenv("COST_REPEATS", "3")
    assert (CostSettings().repeats, CostSettings().out) == (3, RESULTS)


def test_the_longest_samples_decide_whether_an_arm_fits() -> None:
    longer = [*SAMPLES[TURNS_10][:2], replace(SAMPLES[TURNS_10][2], cold=Answer(900.0, 8_192, 0))]
    assert not rows_of({**SAMPLES, TURNS_10: longer}, 8_192)[2].fits
