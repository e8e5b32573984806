"""Rivals that rank jokes under a language model with an adapter for each reader: prompt tuning, LoRA."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    PromptTuningConfig,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from torch import Tensor

from research.rankers import PromptTokens
from research.told_model import Doubles, FrozenModel, liked

State = dict[str, Tensor]

ROWS: Final = 13
LORA_RANK: Final = 8
STEPS: Final = 12
JOKES_A_STEP: Final = 4
HALF_BYTES: Final = 2


@dataclass(frozen=True)
class Tuning:
    """How an adapter is trained: Adam over the mean loss a token of liked jokes.

    Attributes:
        name: as tables show it.
        config: PEFT's.
        rate: of learning.
        start: the adapter's tensors before the first step; PEFT's own if there are none.
    """

    name: str
    config: PeftConfig
    rate: float
    start: State = field(default_factory=dict)


def prompt_tuning(frozen: FrozenModel, rows: int = ROWS) -> Tuning:
    """Prompt tuning (Lester et al. 2021, arXiv 2104.08691) as the basis is, begun from the plain system text."""
    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=rows,
        token_dim=frozen.lm.width,
        num_transformer_submodules=1,
    )
    start = {"prompt_embeddings": frozen.lm.embed_words(frozen.template.plain_system, rows)}
    return Tuning(f"prompt tuning, {rows} rows", config, 3e-2, start)


def lora() -> Tuning:
    """LoRA on queries and values (Hu et al. 2021, arXiv 2106.09685), below the plain system text."""
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules=["q_proj", "v_proj"]
    )
    return Tuning(f"LoRA, r = {LORA_RANK}", config, 1e-3)


class Tuned:
    """An adapter for each reader, trained on what the reader liked."""

    def __init__(self, frozen: FrozenModel, tuning: Tuning, counts: Collection[int], seed: int = 0) -> None:
        """The adapter is trained anew after each of `counts` ratings; `seed` is of its start and of the batches."""
        self.name, self.frozen, self.counts = tuning.name, frozen, counts
        self._tuning, self._seed = tuning, seed

    def reader(self) -> "_TunedReader":
        """A new reader."""
        return _TunedReader(self)

    def fitted(self, jokes: Sequence[int]) -> State:
        """The tensors of an adapter that was trained on the jokes."""
        rng = np.random.default_rng(self._seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            with self._adapted(self._tuning.start) as adapted:
                trained = [weight for weight in adapted.parameters() if weight.requires_grad]
                optimizer = torch.optim.Adam(trained, lr=self._tuning.rate)
                for batch in _steps(jokes, rng):
                    optimizer.zero_grad()
                    self._loss(adapted, batch).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                state: State = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        return state

    def gains(self, state: State, jokes: Sequence[int]) -> Doubles:
        """(A,) what jokes gain a token, in nats, under an adapter."""
        plain = self.frozen.plain_likelihoods[list(jokes)]
        with self._adapted(state) as adapted, torch.inference_mode():
            return self.frozen.likelihoods(self._rows(adapted), jokes) - plain

    def _loss(self, adapted: PeftModel, jokes: Sequence[int]) -> Tensor:
        tokens = [self.frozen.jokes[joke] for joke in jokes]
        return self.frozen.lm.losses(self._rows(adapted)[None], [tokens]).mean()

    def _rows(self, adapted: PeftModel) -> Tensor:
        if self._tuning.config.is_prompt_learning:
            return adapted.get_prompt(batch_size=1)[0]
        return self.frozen.plain

    @contextmanager
    def _adapted(self, state: State) -> Iterator[PeftModel]:
        adapted = get_peft_model(self.frozen.transformer, self._tuning.config)
        try:
            if state:
                set_peft_model_state_dict(adapted, state)
            yield adapted
        finally:
            if not self._tuning.config.is_prompt_learning:
                adapted.unload()

    @property
    def prompt_rows(self) -> int:
        """Rows of the system message."""
        config = self._tuning.config
        return config.num_virtual_tokens if isinstance(config, PromptTuningConfig) else len(self.frozen.plain)


def _steps(jokes: Sequence[int], rng: np.random.Generator) -> Iterator[list[int]]:
    """The batches of STEPS steps: all jokes in turn, in a new order every time."""
    size = min(JOKES_A_STEP, len(jokes))
    rounds = -(-STEPS * size // len(jokes))
    order = [joke for _ in range(rounds) for joke in rng.permutation(np.asarray(jokes)).tolist()]
    return (order[step * size : (step + 1) * size] for step in range(STEPS))


class _TunedReader:
    def __init__(self, method: Tuned) -> None:
        self._method, self._ratings = method, list[tuple[int, float]]()
        self._state: State = {}

    def learn(self, joke: int, value: float) -> None:
        self._ratings.append((joke, value))
        if len(self._ratings) in self._method.counts:
            self._state = self._method.fitted(liked(self._ratings))

    def scores(self, jokes: Sequence[int]) -> Doubles:
        return self._method.gains(self._state, jokes) if self._state else np.zeros(len(jokes))

    @property
    def stored_bytes(self) -> int:
        return HALF_BYTES * sum(weights.numel() for weights in self._state.values())

    @property
    def tokens(self) -> PromptTokens:
        return PromptTokens(self._method.prompt_rows, self._method.prompt_rows)
