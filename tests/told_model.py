"""A tiny language model that is told who the reader is, and texts that it ranks."""

from collections.abc import Sequence

import torch

from research.told_model import FrozenModel
from slop.basis import Template
from tests.tiny_model import tiny_llama, tiny_tokenizer

TEMPLATE = Template(plain_system="You run", request="write a short post")
TEXTS = (
    "the dog barks over the garden",
    "a star shines",
    "we run and save money and cook soup . we run and save money and cook soup . we run",
    "soil",
    "a dog",
    "the star shines over the garden soil and the dog barks",
)
RATED = [(0, 0.9), (1, -0.5), (4, 0.4), (2, -0.9)]


def frozen() -> FrozenModel:
    tokenizer = tiny_tokenizer()
    return FrozenModel(tiny_llama(len(tokenizer)), tokenizer, TEMPLATE, TEXTS)


FROZEN = frozen()


def chat(*jokes: int) -> list[dict[str, str]]:
    request = {"role": "user", "content": TEMPLATE.request}
    turns = [turn for joke in jokes for turn in (request, {"role": "assistant", "content": TEXTS[joke]})]
    return [{"role": "system", "content": TEMPLATE.plain_system}, *turns, request]


def one_by_one(messages: Sequence[dict[str, str]], joke: int) -> float:
    """The reference: the whole chat as the tokenizer renders it, the joke at its end, and no cache."""
    head = FROZEN.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prefix, tokens = FROZEN.lm.tokens(head), FROZEN.jokes[joke]
    with torch.no_grad():
        logits = FROZEN.transformer(input_ids=torch.cat([prefix, tokens])[None]).logits[0].log_softmax(dim=-1)
    found = logits[len(prefix) - 1 : -1].gather(1, tokens[:, None])
    return float(found.mean())
