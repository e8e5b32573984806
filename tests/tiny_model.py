"""A language model of a few thousand random weights with a real tokenizer and chat template, made on the spot."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from slop.basis import Template
from training.language_model import LanguageModel

SENTENCE = "the dog barks a star shines over garden soil and we run money save cook soup write short post user system"
WORDS = SENTENCE.split()
TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant {% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    special = ["<unk>", "<s>", "</s>"]
    vocabulary = {word: i for i, word in enumerate([*special, "assistant", *WORDS, ".", "Write", "You"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    fast.chat_template = TEMPLATE
    return fast


def tiny_llama(vocabulary: int, seed: int = 0) -> LlamaForCausalLM:
    """Two layers of width 16."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def tiny_model(seed: int = 0) -> LanguageModel:
    """A tiny model as training uses it."""
    tokenizer = tiny_tokenizer()
    return LanguageModel(tiny_llama(len(tokenizer), seed), tokenizer, Template())


def save_tiny_model(folder: Path) -> None:
    """A tiny model as a folder from which processes load it."""
    tokenizer = tiny_tokenizer()
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def random_prompts(count: int, rows: int = 3, width: int = 16, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, rows, width, generator=torch.Generator().manual_seed(seed))
