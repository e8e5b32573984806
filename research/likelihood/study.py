"""A basis built on all folds of some posts but one, and measured on that one; what is done is kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from research.folders import KEPT
from research.likelihood.arms import SHIPPED, TRAINED, Arms, Measured
from research.likelihood.settings import LikelihoodSettings
from research.likelihood.texts import Split, folds_of
from research.screen import progress_on
from research.tables import save_json
from slop.basis import Basis
from training.basis.build import Builder, BuildOptions, Floats
from training.language_model import LanguageModel


class Study:
    """The model, the default basis, and what was measured with them before."""

    def __init__(
        self,
        model: LanguageModel,
        basis: Basis,
        embed: Callable[[list[str]], Floats],
        settings: LikelihoodSettings,
        console: Console,
        kept: Path = KEPT,
    ) -> None:
        """`embed` is the sentence embedder of the clusters; `kept` is where parts that are done are kept."""
        self._lm, self._basis, self._embed = model, basis, embed
        self._settings, self._console, self._kept = settings, console, kept
        self._shipped = list(torch.from_numpy(basis.prompts).to(model.device))

    def folds(self, texts: list[str]) -> Measured:
        """Every fold's posts under prompts of the others, and under the default basis.

        Raises:
            UserError: too few posts.
        """
        settings = self._settings
        splits = folds_of(texts, settings.folds, settings.prompts, settings.seed)
        return Measured.joined([self._fold(texts, split, place) for place, split in enumerate(splits)])

    def catalogue(self, texts: list[str]) -> Measured:
        """Posts under the default basis and its words."""

        def measure() -> Measured:
            with progress_on(self._console) as progress:
                bar = progress.add_task("the catalogue's held-out posts", total=3)
                arms = Arms(self._lm, self._tokens(texts), lambda: progress.advance(bar))
                arms.plain()
                arms.words(self._basis.words)
                arms.choice(TRAINED, self._shipped)
            return arms.measured()

        return self._once(f"likelihood-catalogue-{self._digest(texts)}", measure)

    def _fold(self, texts: list[str], split: Split, place: int) -> Measured:
        name = f"fold {place + 1} of {self._settings.folds}"
        train, held = split
        options = self._settings.model_dump(include={"folds", "prompts", "steps", "measured", "seed"})
        kept = f"likelihood-{self._digest([options, texts])}-{place + 1}"

        def measure() -> Measured:
            self._console.print(f"{name}: {self._settings.prompts} prompts on {len(train)} posts")
            most = -(-self._settings.measured // self._settings.folds)
            return self._held_out(name, [texts[i] for i in train], [texts[i] for i in held[:most]], kept)

        return self._once(kept, measure)

    def _held_out(self, name: str, train: list[str], held: list[str], kept: str) -> Measured:
        prompts, words = self._trained(train, self._kept / f"{kept}.pt")
        with progress_on(self._console) as progress:
            bar = progress.add_task(f"{name}: {len(held)} posts", total=5)
            arms = Arms(self._lm, self._tokens(held), lambda: progress.advance(bar))
            arms.plain()
            arms.words(words)
            arms.start(words, prompts.shape[1])
            arms.trained(prompts)
            arms.choice(SHIPPED, self._shipped)
        return arms.measured()

    def _trained(self, posts: list[str], checkpoint: Path) -> tuple[torch.Tensor, list[list[str]]]:
        steps = self._settings.steps
        options = BuildOptions(
            prompts=self._settings.prompts, rounds=(steps, steps), preferences=False, seed=self._settings.seed
        )
        torch.manual_seed(options.seed)
        prompts, _, words = Builder(self._lm, self._embed, posts, options, checkpoint).run()
        return prompts.half().float(), words  # a basis keeps half precision

    def _tokens(self, texts: list[str]) -> list[torch.Tensor]:
        return [self._lm.post_tokens(text, self._settings.tokens) for text in texts]

    def _digest(self, of: Sequence[Any]) -> str:
        basis = [self._basis.revision, self._basis.prompts_version, self._basis.words]
        return sha256(json.dumps([basis, self._settings.tokens, of]).encode()).hexdigest()[:12]

    def _once(self, name: str, measure: Callable[[], Measured]) -> Measured:
        path = self._kept / f"{name}.json"
        if not path.exists():
            save_json(path, asdict(measure()))
            for used in (path.with_suffix(".pt"), path.with_suffix(".space.npy")):
                used.unlink(missing_ok=True)
        return Measured(**json.loads(path.read_text()))
