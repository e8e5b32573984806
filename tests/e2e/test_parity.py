"""The path of training through transformers and the running engine give a text the same probability."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from slop.basis import Basis
from slop.tensor_wire import torch_base64
from training.language_model import LanguageModel, PromptScorer

TEXTS = (
    "The tomatoes on the balcony are finally red, and I have told everyone about it twice.",
    "Extra time again, and nobody on our bench could watch the last penalty.",
    "Why does the soup taste better on the second day?",
)
# The engine computes in bf16, which keeps 8 bits of a number, and training in float32: a dozen tokens' mean
# log-probability differs by 0.02 nats; another template or prompt moves it by tenths.
TOLERANCE = 0.06


class Engine:
    """Scores fixed texts on the server: every token is forced after those before it, one request each.

    The server's own `prompt_logprobs` can't be used: beside `prompt_embeds` it ends vLLM 0.32's engine.
    """

    def __init__(self, client: httpx.Client, basis: Basis, tokenizer: Any) -> None:
        self._client, self._basis, self._tokenizer = client, basis, tokenizer

    def token_log_probabilities(self, prompt: int, tokens: list[int]) -> list[float]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda at: self._one(prompt, tokens, at), range(len(tokens))))

    def _one(self, prompt: int, tokens: list[int], at: int) -> float:
        written = self._tokenizer.decode(tokens[:at])
        assert self._tokenizer(written, add_special_tokens=False).input_ids == tokens[:at]
        data = torch_base64(self._basis.prompts[prompt])
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": [{"type": "prompt_embeds", "data": data}]},
            {"role": "user", "content": self._basis.template.request},
        ]
        if written:
            messages.append({"role": "assistant", "content": written})
        body = {
            "model": "slop",
            "messages": messages,
            "add_generation_prompt": not written,
            "continue_final_message": bool(written),
            "allowed_token_ids": [tokens[at]],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
        }
        answer = self._client.post("chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        (token,) = answer.json()["choices"][0]["logprobs"]["content"]
        return float(token["logprob"])


@pytest.fixture(scope="module")
def engine(vllm_url: str, basis: Basis, model_path: str) -> Iterator[Engine]:
    with httpx.Client(base_url=vllm_url, timeout=300) as client:
        yield Engine(client, basis, AutoTokenizer.from_pretrained(model_path))


@pytest.fixture(scope="module")
def scorer(language_model: LanguageModel, basis: Basis) -> PromptScorer:
    return PromptScorer(language_model, torch.from_numpy(basis.prompts))


@pytest.mark.parametrize("text", TEXTS)
def test_training_and_the_engine_agree_under_three_soft_prompts(
    text: str, engine: Engine, scorer: PromptScorer, language_model: LanguageModel
) -> None:
    tokens = language_model.post_tokens(text).tolist()
    trained = scorer(text)[:3] / len(tokens)
    served = np.array([engine.token_log_probabilities(prompt, tokens) for prompt in range(3)]).mean(axis=1)
    assert np.abs(trained - served).max() < TOLERANCE
    assert np.ptp(trained) > 4 * TOLERANCE, "the prompts hardly differ, so that agreement says little"
