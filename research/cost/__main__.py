"""What a personal post costs before its first token: a soft prompt against a reader's liked posts as text.

    python -m research.cost [--out cost.json] [--repeats 8] [--seed 0]

One engine, one run, the arms in turn: no personalization, a soft prompt, and 10, 50 and 200 liked posts as chat turns
and as text in the system message. Every request is sent twice: cold, with posts and a cache salt that were never sent,
and again, warm, when the engine has what it keeps of the first. It uses the vLLM that runs, or starts one with enough
context. Every option can be given in the environment too: COST_REPEATS, COST_SEED and so on.
"""

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings
from rich.console import Console

from client.catalogue import load_catalogue
from infra.local.settings import LocalSettings
from infra.local.up import running_stack
from infra.models.model import BASE_MODEL
from research.cost import report
from research.cost.arms import ARMS, Arm, Round, StoredBytes, messages_of, rounds
from research.cost.engine import CostEngine
from research.cost.figures import Sample, Samples, rows_of
from research.folders import RESULTS
from research.screen import options_of, progress_on, run_study
from slop.basis import Basis
from slop.settings import LearningSettings
from slop.soft_prompts import checked


class CostSettings(BaseSettings):
    """Options of the study."""

    model_config = options_of("cost")

    out: Path = Field(RESULTS, validation_alias=AliasChoices("out", "OUT"), description="folder of the results")
    seed: int = Field(0, ge=0, description="of the posts, the prompts and the order of the arms")
    repeats: int = Field(8, ge=2, le=1_000, description="cold and warm requests of every arm")
    device: str = Field("", description="what the engine runs on, for the legend; empty: this machine's cores")
    context: int = Field(12_288, ge=1_024, description="tokens that the engine must take; one started here does")


class Study:
    """Asks an engine in every arm's way, one request at a time."""

    def __init__(self, engine: CostEngine, basis: Basis, stored: StoredBytes) -> None:
        self._engine, self._basis, self._stored = engine, basis, stored

    def ask(self, arm: Arm, reader: Round) -> Sample:
        """An arm in one repeat.

        Raises:
            UserError: the engine does not answer as it should.
        """
        prompt = checked(self._basis.prompts[reader.prompt], self._basis)
        messages = messages_of(arm, reader.liked, prompt, self._basis.template)
        salt = os.urandom(8).hex()
        cold, warm = self._engine.ask(messages, salt), self._engine.ask(messages, salt)
        return Sample(cold, warm, self._stored.of(arm, reader.liked))

    def run(self, readers: Sequence[Round], console: Console) -> Samples:
        """All repeats, but for the first, in which the engine warms up."""
        samples: dict[Arm, list[Sample]] = {arm: [] for arm in ARMS}
        with progress_on(console) as progress:
            task = progress.add_task("warming up", total=len(readers) * len(ARMS))
            for repeat, reader in enumerate(readers):
                if repeat:
                    progress.update(task, description=f"repeat {repeat} of {len(readers) - 1}")
                for arm in reader.arms:
                    sample = self.ask(arm, reader)
                    if repeat:
                        samples[arm].append(sample)
                    progress.advance(task)
        return samples


def window_of(source: str) -> int | None:
    """Tokens that a model's positions are trained for, by its configuration; None if that is not on this machine."""
    try:
        window = json.loads((Path(source) / "config.json").read_text())["max_position_embeddings"]
    except (OSError, KeyError, ValueError):
        return None
    return int(window)


def engine_settings(local: LocalSettings, context: int, window: int | None) -> dict[str, str]:
    """The environment of a vLLM that takes `context` tokens, even if the model's window is shorter.

    Beyond its window a model writes nonsense; what the tokens cost can be measured all the same.
    """
    arguments = shlex.split(local.vllm_args)
    if window is not None and window < context:
        arguments += ["--hf-overrides", json.dumps({"max_position_embeddings": context})]
    return {"SLOP_VLLM_MAX_MODEL_LEN": str(context), "SLOP_VLLM_ARGS": shlex.join(arguments)}


def about(
    settings: CostSettings, basis: Basis, engine: CostEngine, window: int | None, load_before: float
) -> dict[str, Any]:
    """What the figures were taken with."""
    return {
        "seed": settings.seed,
        "repeats": settings.repeats,
        "model": basis.model,
        "revision": basis.revision,
        "basis": basis.version,
        "virtual_tokens": int(basis.prompts.shape[1]),
        "model_window": window,
        "max_model_len": engine.context,
        "vllm": engine.version,
        "device": settings.device or f"{len(os.sched_getaffinity(0))} CPU cores",
        "load_before": round(load_before, 2),
    }


def measure(settings: CostSettings, console: Console) -> None:
    """Run the study, print the table and write the files.

    Raises:
        UserError, StackFailed, MissingBinary: it can't go on; the message says why.
    """
    load_before = os.getloadavg()[0]
    local, basis = LocalSettings(), Basis.load(LearningSettings().basis_dir)
    texts = [post.text for post in load_catalogue().shown]
    window = window_of(BASE_MODEL.prepare(local))
    chosen = engine_settings(local, settings.context, window)
    with (
        running_stack(console, ["vllm"], chosen) as running,
        CostEngine(running.vllm_url, settings.context, chosen) as engine,
    ):
        study = Study(engine, basis, StoredBytes.under(basis, LearningSettings()))
        readers = list(rounds(texts, basis.size, settings.repeats + 1, settings.seed))
        rows = rows_of(study.run(readers, console), window)
        report.show(console, rows, about(settings, basis, engine, window, load_before), settings.out / "cost.json")


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: measure(CostSettings(), console))


if __name__ == "__main__":
    raise SystemExit(main())
