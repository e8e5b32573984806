"""Finds the base model of a basis, for studies that run it in their own process."""

from pathlib import Path
from typing import Protocol

from client.errors import UserError
from infra.local.settings import LocalSettings
from infra.models.model import BASE_MODEL
from training.language_model import model_folder, revision_of


class Trained(Protocol):
    """A basis, or style × subject prompts."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def revision(self) -> str:
        """Hash of its weights and tokenizer."""


def base_model(*bases: Trained) -> Path:
    """The folder of the configured base model.

    Raises:
        UserError: a basis was trained on a model with other weights or another tokenizer.
    """
    folder = model_folder(BASE_MODEL.prepare(LocalSettings()))
    revision = revision_of(folder)
    for basis in bases:
        if basis.revision != revision:
            raise UserError(f"a basis is of {basis.model} {basis.revision}, {folder} is {revision}: build it anew")
    return folder
