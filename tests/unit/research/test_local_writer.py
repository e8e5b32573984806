"""Writing with a tiny model in this process."""

import asyncio

import numpy as np
import pytest
import torch

from client.chats import Chats
from client.texts import Sampling
from research.local_writer import LocalWriter
from slop.basis import Template
from tests.tiny_model import random_prompts, tiny_llama, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
MODEL = tiny_llama(len(TOKENIZER)).eval()
CHATS = Chats(Template())
GREEDY = Sampling(0.0, 12, 0.0)


def writer(seed: int = 0) -> LocalWriter:
    return LocalWriter(MODEL, TOKENIZER, Template(), "tiny", seed)


def greedily(system: str) -> str:
    messages = CHATS.under(system)
    rendered = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    tokens = TOKENIZER(rendered, add_special_tokens=False, return_tensors="pt").input_ids
    written = MODEL.generate(tokens, max_new_tokens=12, do_sample=False, pad_token_id=TOKENIZER.pad_token_id)
    text: str = TOKENIZER.decode(written[0, tokens.shape[1] :], skip_special_tokens=True)
    return text.strip()


async def test_chats_of_different_length_are_answered_together_as_each_would_be_alone() -> None:
    systems = ["dog", "a star shines over garden soil", "we run money save cook soup and we run"]
    answers = await asyncio.gather(*(writer().write(CHATS.under(system), 1, GREEDY) for system in systems))
    assert [texts.posts for texts in answers] == [[greedily(system)] for system in systems]


async def test_a_soft_prompt_of_a_texts_embeddings_writes_what_the_text_does() -> None:
    text = "you write short post"
    rows = MODEL.get_input_embeddings()(TOKENIZER(text, add_special_tokens=False, return_tensors="pt").input_ids[0])
    soft = await writer().write(CHATS.soft(rows.detach().numpy()), 1, GREEDY)
    plain = await writer().write(CHATS.under(text), 1, GREEDY)
    assert soft == plain


async def test_posts_differ_from_each_other_and_not_from_another_run_with_the_seed() -> None:
    chat = CHATS.soft(random_prompts(1)[0].numpy().astype(np.float32))
    first, again, other = [await writer(seed).write(chat, 8, Sampling()) for seed in (0, 0, 1)]
    assert first == again != other
    assert len(set(first.posts)) > 1


async def test_a_text_is_scored_from_its_second_token_on_whatever_is_scored_beside_it() -> None:
    one = writer()
    texts = ["the dog barks", "a star shines over garden soil and we run", "dog cook"]
    found = await asyncio.gather(*map(one.score, texts))
    for text, score in zip(texts, found, strict=True):
        tokens = TOKENIZER(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logs = MODEL(tokens).logits[0, :-1].log_softmax(-1)
        expected = float(logs.gather(1, tokens[0, 1:, None]).sum())
        assert score.log_likelihood == pytest.approx(expected, abs=1e-4)
        assert score.tokens == tokens.shape[1] - 1
