"""What a model writes greedily after a soft prompt: by training's own path, and by PEFT from an adapter."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from training.language_model import LanguageModel


@torch.no_grad()
def greedy_tokens(transformer: Any, model: LanguageModel, prompt: torch.Tensor, length: int) -> list[int]:
    """The most probable next token, `length` times, after a (k, d) prompt within the template."""
    inputs, tokens = model.prefix(prompt[None]), []
    for _ in range(length):
        token = transformer(inputs_embeds=inputs, use_cache=False).logits[0, -1].argmax()
        inputs = torch.cat([inputs, model.embed(token)[None, None]], dim=1)
        tokens.append(int(token))
    return tokens


def peft_tokens(transformer: Any, tokenizer: Any, adapter: Path, text: str, length: int) -> list[int]:
    """The same through `PeftModel.generate`, which is fed a text after the adapter's virtual tokens."""
    transformer.generation_config.eos_token_id = None  # so that both go on for `length` tokens
    model = PeftModel.from_pretrained(transformer, str(adapter))
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pad_token_id": 0}
    written = model.generate(**asked, max_new_tokens=length, do_sample=False)
    tokens: list[int] = written[0, ids.shape[1] :].tolist()
    return tokens
