"""A sentence embedder on disk that is made at once: a random vector for each of a few words, and one for all others."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from slop.embedder import MODEL_FILE, REVISION_FILE
from tests.basis import TinyEmbedder
from tests.tiny_model import WORDS


def save_tiny_embedder(folder: Path, revision: str = "test", opset: int = 17) -> Path:
    """Write it, with a noted revision, which is that of the bases of `tests.basis`; without one if that is empty."""
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(["?", *WORDS]))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    (folder / MODEL_FILE).parent.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(len(vocabulary), TinyEmbedder.width)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["texts", "tokens", table.shape[1]])],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, folder / MODEL_FILE)
    if revision:
        (folder / REVISION_FILE).write_text(revision)
    return folder
