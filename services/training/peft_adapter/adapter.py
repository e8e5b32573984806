"""A soft prompt as the folder of a PEFT prompt-tuning adapter.

PEFT's virtual tokens come before all that is fed; a soft prompt stands within the template's system message. So an
adapter's virtual tokens are the embeddings of the template's head and then the soft prompt, and what is fed is the
template's tail: together the very sequence that the prompt was trained in.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftConfig, PeftType, PromptTuningConfig, TaskType
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME, load_peft_weights
from safetensors.torch import save_file

from training.language_model import LanguageModel

Floats = npt.NDArray[np.float32]

# Of an embedding that was kept in a half-precision format meanwhile.
_RELATIVE, _ABSOLUTE = 0.01, 1e-4
_TENSOR: Final = "prompt_embeddings"  # PEFT's name


class InvalidAdapter(ValueError):  # noqa: N818
    """An adapter folder that gives no soft prompt for the model; the message says why."""


def virtual_tokens(model: LanguageModel, prompt: Floats) -> torch.Tensor:
    """The template's head and a (k, d) soft prompt: (H + k, d) float32, on the CPU."""
    return torch.cat([model.head().float().cpu(), torch.from_numpy(prompt)])


def save_adapter(folder: Path, model: LanguageModel, prompt: Floats, base_model: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors.

    Args:
        folder: made if it is not there.
        model: the base model within the template.
        prompt: (k, d) float32.
        base_model: what the base model is called.
    """
    rows = virtual_tokens(model, prompt)
    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=base_model,
        num_virtual_tokens=rows.shape[0],
        token_dim=rows.shape[1],
        num_transformer_submodules=1,
        inference_mode=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    save_file({_TENSOR: rows.contiguous()}, folder / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})


def load_adapter(folder: Path, model: LanguageModel, base_model: str, rows: int) -> Floats:
    """The soft prompt of an adapter.

    Args:
        folder: as `save_adapter` or PEFT writes it.
        model: the base model within the template.
        base_model: what the base model is called; an owner before a slash, and case, do not matter.
        rows: k, the virtual tokens of a soft prompt.

    Returns:
        (k, d) float32.

    Raises:
        InvalidAdapter: it is no prompt-tuning adapter, of another base model or template, of another number of virtual
            tokens, or has values that are not finite.
    """
    _check_config(_config_of(folder), base_model)
    tokens, head = _tokens_of(folder), model.head().float().cpu()
    if tokens.ndim != 2 or tokens.shape[1] != model.width:  # noqa: PLR2004
        raise InvalidAdapter(f"virtual tokens of shape {tuple(tokens.shape)}, {base_model} has rows of {model.width}")
    if tokens.shape[0] != len(head) + rows:
        raise InvalidAdapter(
            f"{tokens.shape[0]} virtual tokens where {len(head) + rows} are needed: "
            f"{len(head)} of the template's head and {rows} of the soft prompt"
        )
    if not tokens.isfinite().all():
        raise InvalidAdapter("values that are not finite")
    if not torch.allclose(tokens[: len(head)], head, rtol=_RELATIVE, atol=_ABSOLUTE):
        raise InvalidAdapter(
            f"the first {len(head)} virtual tokens are not {base_model}'s embeddings of the template's head: "
            "another base model or template, or they were trained on"
        )
    prompt: Floats = tokens[len(head) :].numpy()
    return prompt


def _config_of(folder: Path) -> PeftConfig:
    if not (folder / CONFIG_NAME).is_file():  # PEFT would look for it on the hub
        raise InvalidAdapter(f"no {CONFIG_NAME} in {folder}")
    try:
        config: PeftConfig = PeftConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidAdapter(f"{CONFIG_NAME} is broken: {error}") from error
    return config


def _check_config(config: PeftConfig, base_model: str) -> None:
    if config.peft_type != PeftType.PROMPT_TUNING:
        raise InvalidAdapter(f"an adapter of type {_name(config.peft_type)}, not {PeftType.PROMPT_TUNING.value}")
    theirs = config.base_model_name_or_path or ""
    if Path(theirs).name.lower() != Path(base_model).name.lower():
        raise InvalidAdapter(f"the adapter is for {theirs or 'a base model that it does not name'}, not {base_model}")


def _name(kind: PeftType | str | None) -> str:
    return kind.value if isinstance(kind, PeftType) else str(kind)


def _tokens_of(folder: Path) -> torch.Tensor:
    """(V, d) float32."""
    if not (folder / SAFETENSORS_WEIGHTS_NAME).is_file():
        raise InvalidAdapter(f"no {SAFETENSORS_WEIGHTS_NAME} in {folder}")
    try:
        tokens: torch.Tensor = load_peft_weights(str(folder), device="cpu")[_TENSOR]
    except Exception as error:  # safetensors has an exception of its own for every way that a file can be broken
        raise InvalidAdapter(f"{SAFETENSORS_WEIGHTS_NAME} is broken: {error!r}") from error
    return tokens.float()
