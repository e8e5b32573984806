"""Soft prompts go to PEFT and come back, and PEFT writes with them what training's own path writes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from peft import LoraConfig, PeftModel, PromptTuningConfig, TaskType
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from slop.basis import Basis, Template
from tests.basis import basis_of
from tests.greedy import greedy_tokens, peft_tokens
from tests.tiny_model import random_prompts, save_tiny_model, tiny_llama, tiny_model, tiny_tokenizer
from training.language_model import LanguageModel
from training.peft_adapter.__main__ import NoSoftPrompt, export_prompt, prompt_of_basis
from training.peft_adapter.adapter import InvalidAdapter, load_adapter, save_adapter

# PEFT says so of every generation with virtual tokens: it makes the position ids itself.
pytestmark = pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")

LENGTH = 24
ROWS = 3
MODEL = tiny_model()
HEAD = len(MODEL.head())
BASIS = basis_of(random_prompts(4, ROWS).numpy())
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """The basis' third prompt, exported."""
    export_prompt(BASIS, MODEL, 2, tmp_path / "adapter")
    return tmp_path / "adapter"


def imported(folder: Path, rows: int = ROWS, basis: Basis = BASIS) -> np.ndarray:
    return load_adapter(folder, MODEL, basis.model, rows)


def transformer() -> LlamaForCausalLM:
    """The weights of `MODEL` as PEFT takes them."""
    return tiny_llama(len(tiny_tokenizer()))


def written_by_peft(folder: Path) -> list[int]:
    return peft_tokens(transformer(), tiny_tokenizer(), folder, MODEL.tail, LENGTH)


@pytest.mark.parametrize("prompt", range(BASIS.size))
def test_peft_writes_the_tokens_that_the_trainers_own_path_writes(prompt: int, tmp_path: Path) -> None:
    export_prompt(BASIS, MODEL, prompt, tmp_path)
    rows = torch.from_numpy(BASIS.prompts[prompt])
    assert written_by_peft(tmp_path) == greedy_tokens(transformer(), MODEL, rows, LENGTH)


def test_prompts_write_different_texts_so_that_agreement_says_something(tmp_path: Path) -> None:
    texts = set()
    for prompt in range(BASIS.size):
        export_prompt(BASIS, MODEL, prompt, tmp_path / str(prompt))
        texts.add(tuple(written_by_peft(tmp_path / str(prompt))))
    assert len(texts) > 1


def test_what_was_exported_comes_back_byte_for_byte(adapter: Path) -> None:
    assert imported(adapter).tobytes() == BASIS.prompts[2].tobytes()


def test_an_adapter_kept_in_half_precision_comes_back_nearly(adapter: Path) -> None:
    tokens = load_file(adapter / WEIGHTS)["prompt_embeddings"]
    save_file({"prompt_embeddings": tokens.bfloat16()}, adapter / WEIGHTS)
    assert imported(adapter) == pytest.approx(BASIS.prompts[2], rel=0.01)


def test_an_adapter_that_peft_itself_saved_is_taken(adapter: Path, tmp_path: Path) -> None:
    model = PeftModel.from_pretrained(transformer(), str(adapter))
    model.peft_config["default"].base_model_name_or_path = f"somebody/{BASIS.model.upper()}"
    model.save_pretrained(str(tmp_path / "again"), save_embedding_layers=False)
    assert imported(tmp_path / "again").tobytes() == BASIS.prompts[2].tobytes()


def test_the_card_says_what_to_feed_and_its_snippet_runs(adapter: Path, tmp_path: Path) -> None:
    card = ModelCard.load(adapter / "README.md")
    assert card.data.to_dict()["slop"]["text"] == MODEL.tail
    save_tiny_model(tmp_path / "model")
    snippet = tmp_path / "snippet.py"
    snippet.write_text(card.content.split("```python\n")[1].split("```")[0])
    command = [sys.executable, str(snippet), str(tmp_path / "model"), str(adapter)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("prompt", [-1, BASIS.size])
def test_a_prompt_that_the_basis_has_not_is_refused(prompt: int) -> None:
    with pytest.raises(NoSoftPrompt, match="has prompts 0 to 3"):
        prompt_of_basis(BASIS, prompt)


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidAdapter, match=f"no {CONFIG} in"):
        imported(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"peft_type": "NO SUCH"}', '{"peft_type": "PROMPT_TUNING", "task_type": 7}']
)
def test_a_broken_configuration_is_refused(text: str, adapter: Path) -> None:
    (adapter / CONFIG).write_text(text)
    with pytest.raises(InvalidAdapter):
        imported(adapter)


def test_an_adapter_without_weights_is_refused(adapter: Path) -> None:
    (adapter / WEIGHTS).unlink()
    with pytest.raises(InvalidAdapter, match=f"no {WEIGHTS}"):
        imported(adapter)


def test_broken_weights_are_refused(adapter: Path) -> None:
    (adapter / WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(InvalidAdapter, match=f"{WEIGHTS} is broken"):
        imported(adapter)


def test_another_kind_of_adapter_is_refused(adapter: Path) -> None:
    LoraConfig(task_type=TaskType.CAUSAL_LM, base_model_name_or_path=BASIS.model).save_pretrained(str(adapter))
    with pytest.raises(InvalidAdapter, match="of type LORA, not PROMPT_TUNING"):
        imported(adapter)


@pytest.mark.parametrize("name", ["another/model", None])
def test_an_adapter_for_another_base_model_is_refused(name: str | None, adapter: Path) -> None:
    config = PromptTuningConfig.from_pretrained(str(adapter))
    config.base_model_name_or_path = name
    config.save_pretrained(str(adapter))
    with pytest.raises(InvalidAdapter, match=rf"the adapter is for .*, not {BASIS.model}"):
        imported(adapter)


def test_a_base_model_of_the_same_name_with_other_embeddings_is_refused(tmp_path: Path) -> None:
    save_adapter(tmp_path, tiny_model(seed=1), BASIS.prompts[0], BASIS.model)
    with pytest.raises(InvalidAdapter, match=f"first {HEAD} virtual tokens are not"):
        imported(tmp_path)


def test_an_adapter_of_another_width_is_refused(adapter: Path) -> None:
    save_file({"prompt_embeddings": torch.zeros(HEAD + ROWS, 5)}, adapter / WEIGHTS)
    with pytest.raises(InvalidAdapter, match="has rows of 16"):
        imported(adapter)


def test_another_number_of_virtual_tokens_is_refused(adapter: Path) -> None:
    with pytest.raises(InvalidAdapter, match=rf"{HEAD + ROWS} virtual tokens where {HEAD + 5} are needed"):
        imported(adapter, rows=5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("row", [0, -1])
def test_values_that_are_not_finite_are_refused(row: int, value: float, adapter: Path) -> None:
    tokens = load_file(adapter / WEIGHTS)["prompt_embeddings"]
    tokens[row, 0] = value
    save_file({"prompt_embeddings": tokens}, adapter / WEIGHTS)
    with pytest.raises(InvalidAdapter, match="not finite"):
        imported(adapter)


def test_a_head_of_another_template_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ 'the dog ' }}" + str(tokenizer.chat_template)
    other = LanguageModel(tiny_llama(len(tokenizer)), tokenizer, Template())
    save_adapter(tmp_path, other, BASIS.prompts[0], BASIS.model)
    with pytest.raises(InvalidAdapter, match="virtual tokens where"):
        imported(tmp_path)


def test_the_configuration_names_no_path_of_this_machine(adapter: Path) -> None:
    config = json.loads((adapter / CONFIG).read_text())
    assert config["base_model_name_or_path"] == BASIS.model
    assert str(adapter.parent) not in (adapter / CONFIG).read_text() + (adapter / "README.md").read_text()
