"""Soft prompts as PEFT prompt-tuning adapters, and back: `python -m training.peft_adapter export|import --help`.

Redis and the basis are those of the environment (SLOP_REDIS_URL, SLOP_BASIS_DIR, SLOP_TENANT). The base model is
`--model` or SLOP_MODEL, a folder or hub name.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import RedisError
from safetensors.numpy import save_file
from transformers.utils.logging import disable_progress_bar

from slop.basis import Basis, InvalidBasis
from slop.profiles import InvalidProfile, Profile
from slop.redis.client import redis_client
from slop.redis.profiles import ProfileArchive, User
from slop.rollout.live import live_basis
from slop.settings import LearningSettings
from slop.soft_prompts import UnsafeSoftPrompt, checked, shares
from training.language_model import LanguageModel, model_folder, revision_of
from training.peft_adapter.adapter import InvalidAdapter, load_adapter, save_adapter
from training.peft_adapter.card import save_card
from training.peft_adapter.settings import AdapterSettings

WORDS: Final = 8


class NoSoftPrompt(LookupError):  # noqa: N818
    """There is no soft prompt to export; the message says why."""


def prompt_of_reader(settings: LearningSettings, basis: Basis, user_id: str) -> int:
    """The prompt of the basis that most of a reader's posts are written with.

    Raises:
        NoSoftPrompt: nothing was learned of the reader, or no taste.
        InvalidProfile, UnsafeSoftPrompt: the stored profile must not be used.
        RedisError: Redis does not answer.
    """
    share = shares(_profile(settings, basis, user_id), basis.size)
    if share is None:
        raise NoSoftPrompt(f"{user_id} likes nothing more than others do so far: plain posts are written for them")
    return int(share.argmax())


def _redis(settings: LearningSettings) -> Redis:
    return redis_client(settings.redis_url, settings.redis_timeout_s)


def _basis(settings: LearningSettings, *, live: bool) -> Basis:
    """The live basis, which readers are learned under, or the one that SLOP_BASIS_DIR names, for which no Redis runs.

    Raises:
        InvalidBasis: there is no usable basis.
        RedisError: Redis does not answer.
    """
    if not live:
        return Basis.load(settings.basis_dir)
    with _redis(settings) as redis:
        return live_basis(settings.basis_dir, redis)


def _profile(settings: LearningSettings, basis: Basis, user_id: str) -> Profile:
    with _redis(settings) as redis:
        archive = ProfileArchive(redis, basis.version, 1_000 * settings.seen_window_s)
        (data,) = archive.profiles([User(settings.tenant, user_id)])
    if data is None:
        raise NoSoftPrompt(f"nothing was learned of {user_id} under the basis {basis.version}")
    return Profile.from_bytes(data, basis.dimensions)


def prompt_of_basis(basis: Basis, prompt: int) -> int:
    """The prompt itself, if the basis has it.

    Raises:
        NoSoftPrompt: it has not.
    """
    if not 0 <= prompt < basis.size:
        raise NoSoftPrompt(f"no prompt {prompt}: the basis {basis.version} has prompts 0 to {basis.size - 1}")
    return prompt


def export_prompt(basis: Basis, model: LanguageModel, prompt: int, folder: Path) -> None:
    """Write a prompt of the basis, by index, as an adapter with its model card.

    Raises:
        UnsafeSoftPrompt: its values are not usable.
    """
    save_adapter(folder, model, checked(basis.prompts[prompt], basis), basis.model)
    save_card(folder, basis, basis.words[prompt][:WORDS], len(model.head()), model.tail)


def import_prompt(basis: Basis, model: LanguageModel, folder: Path, out: Path) -> None:
    """Write the soft prompt of an adapter folder into a safetensors file with one tensor `prompt`, (k, d) float32.

    Raises:
        InvalidAdapter: the adapter gives no soft prompt for the basis' model.
    """
    prompt = load_adapter(folder, model, basis.model, basis.prompts.shape[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({"prompt": prompt}, out, metadata={"model": basis.model, "revision": basis.revision})


def load_model(source: str, basis: Basis) -> LanguageModel:
    """The basis' base model on the CPU.

    Raises:
        InvalidBasis: the basis was trained on another one.
    """
    folder = model_folder(source)
    if (revision := revision_of(folder)) != basis.revision:
        raise InvalidBasis(f"the basis is of {basis.model} {basis.revision}, {source} is {revision}")
    return LanguageModel.load(folder, basis.template, device="cpu")


def _arguments(settings: AdapterSettings) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m training.peft_adapter", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write a soft prompt as an adapter folder")
    which = export.add_mutually_exclusive_group(required=True)
    which.add_argument("--user", metavar="ID", help="the prompt that most of this reader's posts are written with")
    which.add_argument("--prompt", metavar="K", type=int, help="a prompt of the basis, from 0 on")
    export.add_argument("--out", required=True, type=Path, metavar="FOLDER")
    back = commands.add_parser("import", help="write an adapter's soft prompt as a safetensors file")
    back.add_argument("folder", type=Path)
    back.add_argument("--out", required=True, type=Path, metavar="FILE")
    for command in (export, back):
        command.add_argument("--model", default=settings.model, required=not settings.model, help="of the basis")
    return parser.parse_args()


def run(arguments: argparse.Namespace, settings: AdapterSettings) -> str:
    """Export or import as the command line says; returns what was done.

    Raises:
        InvalidAdapter, InvalidBasis, InvalidProfile, NoSoftPrompt, RedisError, UnsafeSoftPrompt: why it can't be done.
    """
    of_reader = arguments.command == "export" and arguments.user is not None
    basis = _basis(settings, live=of_reader)
    if arguments.command == "import":
        import_prompt(basis, load_model(arguments.model, basis), arguments.folder, arguments.out)
        return f"soft prompt of {arguments.folder} in {arguments.out}"
    if of_reader:
        prompt = prompt_of_reader(settings, basis, arguments.user)
    else:
        prompt = prompt_of_basis(basis, arguments.prompt)
    export_prompt(basis, load_model(arguments.model, basis), prompt, arguments.out)
    words = ", ".join(basis.words[prompt][:WORDS])
    return f"prompt {prompt} ({words}) in {arguments.out}; README.md there says how to use it"


def main() -> None:
    """The command line."""
    settings = AdapterSettings()
    arguments = _arguments(settings)
    disable_progress_bar()
    try:
        done = run(arguments, settings)
    except (InvalidAdapter, InvalidBasis, InvalidProfile, NoSoftPrompt, RedisError, UnsafeSoftPrompt) as error:
        sys.exit(f"{arguments.command}: {error}")
    sys.stdout.write(done + "\n")


if __name__ == "__main__":
    main()
