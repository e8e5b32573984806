"""The frozen model that a basis was trained on, where studies use it in their own process."""

from pathlib import Path
from typing import Protocol

from native import model as native_model
from native.settings import NativeSettings
from studies.posts import StudyError
from trainer.language_model import model_folder, revision_of


class Trained(Protocol):
    """A basis, factored or not."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def revision(self) -> str:
        """Hash of its weights and tokenizer."""


def base_model(*bases: Trained) -> Path:
    """The folder of the model that is configured.

    Raises:
        StudyError: a basis was trained on another one, or on one with another tokenizer.
    """
    folder = model_folder(native_model.prepare(NativeSettings()))
    revision = revision_of(folder)
    for basis in bases:
        if basis.revision != revision:
            raise StudyError(f"a basis is of {basis.model} {basis.revision}, {folder} is {revision}: build it anew")
    return folder
