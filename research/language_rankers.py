"""Rivals that rank jokes by their likelihood under a frozen language model that is told who the reader is.

Four ways to tell it: liked jokes in the prompt, a description of the reader in the prompt, prompt tuning, LoRA. A
joke's score is the mean log-likelihood of its tokens when the model is told, less the same when it is not: the
pointwise mutual information of joke and reader (Holtzman et al. 2021, arXiv 2104.08315), which leaves out how likely
the joke is anyway. It is a mean over tokens because the sum grows with the joke's length, and would rank by that.

Liked jokes are the upper half of a reader's ratings, since people differ in how high they rate. What a model is told is
made anew only at certain counts of ratings; with every rating it would cost up to ten times as much.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
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
from transformers import AutoModelForCausalLM, AutoTokenizer

from research.rankers import PromptTokens
from slop.basis import Template
from training.language_model import LanguageModel, mean_losses

Doubles = npt.NDArray[np.float64]
State = dict[str, Tensor]
Rated = Sequence[tuple[int, float]]
"""Ratings in [-1, 1] with their jokes."""

SHOWN: Final = 6
DESCRIPTION_TOKENS: Final = 40
ROWS: Final = 13
LORA_RANK: Final = 8
STEPS: Final = 12
JOKES_A_STEP: Final = 4
HALF_BYTES: Final = 2
BATCH_TOKENS: Final = 768


def liked(ratings: Rated) -> list[int]:
    """The upper half of a reader's jokes, best first: those rated no lower than the reader's median."""
    middle = median(value for _, value in ratings)
    return [joke for joke, value in sorted(ratings, key=lambda rated: -rated[1]) if value >= middle]


def batches_of_like_length(jokes: Sequence[int], lengths: Sequence[int], most: int = BATCH_TOKENS) -> list[list[int]]:
    """Jokes in batches of at most `most` tokens with the padding, or of one joke.

    Args:
        jokes: which.
        lengths: tokens of every joke there is.
        most: tokens.
    """
    batches: list[list[int]] = []
    for joke in sorted(jokes, key=lambda joke: lengths[joke]):
        if batches and (len(batches[-1]) + 1) * lengths[joke] <= most:
            batches[-1].append(joke)
        else:
            batches.append([joke])
    return batches


class FrozenModel:
    """A language model within the template, and the jokes' tokens: whole jokes, since the point comes last.

    Attributes:
        transformer: as transformers has it.
        tokenizer: its.
        lm: the same model as `training` wraps it.
        template: what surrounds the reader.
        texts: the jokes.
        jokes: their tokens with the end of turn.
        plain: (k, d), what stands in the system message when the model is told nothing.
    """

    def __init__(self, transformer: Any, tokenizer: Any, template: Template, texts: Sequence[str]) -> None:
        self.transformer, self.tokenizer, self.template, self.texts = transformer, tokenizer, template, texts
        self.lm = LanguageModel(transformer, tokenizer, template)
        self.jokes = [self.lm.tokens(text + self.lm.end) for text in texts]
        self.plain = self.rows(template.plain_system)

    @classmethod
    def load(cls, source: str, template: Template, texts: Sequence[str]) -> Self:
        """Load a local folder or hub name in float32, on the GPU if there is one, else on the CPU for all cores."""
        torch.set_num_threads(os.cpu_count() or 1)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        transformer = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="sdpa")
        return cls(transformer.to(device), AutoTokenizer.from_pretrained(source), template, texts)

    def rows(self, text: str) -> Tensor:
        """The embeddings of a text for the system message: (k, d)."""
        return self.lm.embed(self.lm.tokens(text))

    @cached_property
    def plain_likelihoods(self) -> Doubles:
        """(J,) of all jokes, told nothing."""
        return self.likelihoods(self.plain, range(len(self.texts)))

    @torch.inference_mode()
    def likelihoods(self, rows: Tensor, jokes: Sequence[int]) -> Doubles:
        """Mean log-likelihood a token.

        Args:
            rows: (k, d), what stands in the system message; read once for all jokes.
            jokes: which.

        Returns:
            (A,) nats.
        """
        states, cache = self.lm.read(self.lm.prefix(rows[None]), None)
        found: dict[int, float] = {}
        for batch in batches_of_like_length(jokes, [len(tokens) for tokens in self.jokes]):
            posts = [[self.jokes[joke] for joke in batch]]
            losses = mean_losses(self.lm.losses_after(states[:, -1:], cache, posts), posts)
            found.update(zip(batch, (-losses).tolist(), strict=True))
        return np.array([found[joke] for joke in jokes])

    def gains(self, rows: Tensor, jokes: Sequence[int]) -> Doubles:
        """(A,) what jokes gain a token, in nats, when the model is told (k, d) `rows`."""
        return self.likelihoods(rows, jokes) - self.plain_likelihoods[list(jokes)]

    @torch.inference_mode()
    def answer(self, request: str, tokens: int) -> str:
        """What the model answers a request in its own chat template, greedily, in at most `tokens` tokens."""
        chat = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": request}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        inputs = {name: chat[name].to(self.lm.device) for name in ("input_ids", "attention_mask")}
        end = self.tokenizer.eos_token_id
        written = self.transformer.generate(**inputs, max_new_tokens=tokens, do_sample=False, pad_token_id=end)
        answer: str = self.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return answer.strip()


@dataclass(frozen=True, slots=True)
class Told:
    """What a model is told of a reader.

    Attributes:
        system: the system message; turns may follow in it, as the template renders them.
        kept: the texts that are kept of the reader for it.
    """

    system: str
    kept: tuple[str, ...]


def as_history(frozen: FrozenModel, best: Sequence[int]) -> Told:
    """The best jokes as turns before the request, the best one last, nearest to it."""
    shown = [frozen.texts[joke] for joke in reversed(best[:SHOWN])]
    return Told(frozen.lm.tail.join([frozen.template.plain_system, *shown]), tuple(shown))


def as_persona(frozen: FrozenModel, best: Sequence[int]) -> Told:
    """The model's own description of the reader's humour, from the best jokes (as in arXiv 2502.20356)."""
    shown = "\n\n".join(frozen.texts[joke] for joke in best[:SHOWN])
    request = (
        f"One reader laughed at these jokes:\n\n{shown}\n\nDescribe this reader's sense of humour in one sentence."
    )
    description = frozen.answer(request, DESCRIPTION_TOKENS)
    return Told(f"{frozen.template.plain_system} The reader: {description}", (description,))


class InWords:
    """The model is told in words."""

    def __init__(
        self,
        name: str,
        frozen: FrozenModel,
        tell: Callable[[FrozenModel, Sequence[int]], Told],
        counts: Collection[int],
    ) -> None:
        """`tell` makes of a reader's liked jokes what the model is told, after each of `counts` ratings."""
        self.name, self.frozen, self.tell, self.counts = name, frozen, tell, counts

    def reader(self) -> "_ReaderInWords":
        """A new reader."""
        return _ReaderInWords(self)


class _ReaderInWords:
    def __init__(self, method: InWords) -> None:
        self._method, self._ratings = method, list[tuple[int, float]]()
        self._told = Told(method.frozen.template.plain_system, ())

    def learn(self, joke: int, value: float) -> None:
        self._ratings.append((joke, value))
        if len(self._ratings) in self._method.counts:
            self._told = self._method.tell(self._method.frozen, liked(self._ratings))

    def scores(self, jokes: Sequence[int]) -> Doubles:
        return self._method.frozen.gains(self._method.frozen.rows(self._told.system), jokes)

    @property
    def stored_bytes(self) -> int:
        return sum(len(text.encode()) for text in self._told.kept)

    @property
    def tokens(self) -> PromptTokens:
        size = len(self._method.frozen.lm.tokens(self._told.system))
        return PromptTokens(size, size)


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
