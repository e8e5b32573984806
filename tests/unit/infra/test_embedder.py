"""The sentence embedder that the local run prepares."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel

from infra.models import embedder
from slop.embedder import Embedder

TEXTS = ["dog", "dog star dog", "star " * 40]


def bert(folder: Path) -> BertModel:
    """A BERT of random weights, in the layout of sentence-transformers."""
    folder.mkdir()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=3,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        attn_implementation="eager",
    )
    model = BertModel(config).eval()
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({"?": 0, "dog": 1, "star": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32}))
    return model


@pytest.mark.filterwarnings("ignore")  # of torch.onnx about its own
def test_a_converted_embedder_makes_the_embeddings_that_torch_makes(tmp_path: Path) -> None:
    model = bert(tmp_path / "bert")
    target = tmp_path / "onnx"
    target.mkdir()
    embedder.convert(tmp_path / "bert", target)
    found = Embedder.load(target).embed(TEXTS)
    ids = [[{"dog": 1, "star": 2}[word] for word in text.split()][:32] for text in TEXTS]
    with torch.inference_mode():
        pooled = [model(torch.tensor([one])).last_hidden_state[0].mean(dim=0).numpy() for one in ids]
    expected = np.array([one / np.linalg.norm(one) for one in pooled])
    np.testing.assert_allclose(found, expected, atol=1e-5)
