"""Text features by the likelihood of a post under each prompt, on one copy of the frozen model."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from slop.basis import Basis, InvalidBasis
from slop.words import word_count
from trainer.language_model import LanguageModel, PromptScorer, model_folder, revision_of
from trainer.settings import FeaturizerSettings

Floats = npt.NDArray[np.float32]


class LikelihoodEncoder:
    """A basis' text features by its prompts' likelihoods."""

    def __init__(self, scorer: PromptScorer, basis: Basis) -> None:
        self._scorer, self._basis = scorer, basis

    def features_of(self, texts: Sequence[str]) -> Floats:
        """(N, T) float32."""
        return np.stack([self._basis.text_features(self._scorer(text), word_count(text)) for text in texts])


class SharedModel:
    """The frozen model, on which the encoders of all bases take turns."""

    def __init__(self, settings: FeaturizerSettings, basis: Basis, places: int) -> None:
        """Load the model, for so many threads at a time.

        Raises:
            slop.basis.InvalidBasis: `basis` was trained on another model.
            OSError: the model can't be loaded.
        """
        folder = model_folder(settings.model)
        self._name, self._revision, self._template = settings.model, revision_of(folder), basis.template
        self._require(basis)
        self._model = LanguageModel.load(folder, basis.template, settings.device or None)
        torch.set_num_threads(max(1, torch.get_num_threads() // places))

    def encoder(self, basis: Basis) -> LikelihoodEncoder:
        """The model with a basis' prompts before it.

        Raises:
            slop.basis.InvalidBasis: the basis was trained on another model, or has another template.
        """
        self._require(basis)
        return LikelihoodEncoder(PromptScorer(self._model, torch.from_numpy(basis.prompts)), basis)

    def _require(self, basis: Basis) -> None:
        if basis.revision != self._revision:
            raise InvalidBasis(f"the basis is of {basis.model} {basis.revision}, {self._name} is {self._revision}")
        if basis.template != self._template:
            raise InvalidBasis(f"the basis {basis.version} has another template than the one that was configured")
