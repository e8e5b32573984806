"""PEFT writes with the real model and a shipped soft prompt what training's own path writes."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from slop.basis import Basis
from slop.settings import DEFAULT_BASIS
from tests.greedy import greedy_tokens, peft_tokens
from training.language_model import LanguageModel
from training.peft_adapter.__main__ import export_prompt
from training.peft_adapter.adapter import load_adapter

LENGTH = 24
PROMPTS = (0, 2)


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
def test_peft_writes_the_same_tokens_with_shipped_soft_prompts(
    language_model: LanguageModel, model_path: str, tmp_path: Path
) -> None:
    shipped = Basis.load(DEFAULT_BASIS)
    transformer = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    texts = []
    for prompt in PROMPTS:
        folder, rows = tmp_path / str(prompt), shipped.prompts[prompt]
        export_prompt(shipped, language_model, prompt, folder)
        ours = greedy_tokens(transformer, language_model, torch.from_numpy(rows), LENGTH)
        assert peft_tokens(transformer, tokenizer, folder, language_model.tail, LENGTH) == ours
        assert load_adapter(folder, language_model, shipped.model, len(rows)).tobytes() == rows.tobytes()
        texts.append(tokenizer.decode(ours))
    assert len(set(texts)) == len(PROMPTS), "agreement says nothing where all prompts write the same"
