"""The ways that are compared, and their bases, each built once."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch

from client.catalogue import LabelledCatalogue, Post, with_few
from research.base_model import base_model
from research.embedder import embedder
from research.folders import KEPT
from slop.basis import Basis
from training.basis.build import BuildOptions, build_basis
from training.language_model import LanguageModel

BUILT: Final = KEPT / "variants"
SHIPPED: Final = "as shipped"

CHANGES: Final[Mapping[str, Mapping[str, Any]]] = {
    SHIPPED: {},
    "seed 1": {"seed": 1},
    "seed 2": {"seed": 2},
    "likelihood alone": {"preferences": False},
    "clusters of k-means alone": {"rounds": (40,)},
    "12 and 12 steps": {"rounds": (12, 12)},
    "24, 16 and 40 steps": {"rounds": (24, 16, 40)},
    "no early stop": {"patience": 99},
    "posts shared by prompts": {"softness": 10.0},
    "rate 1e-2": {"rate": 1e-2},
    "16 prompts": {"prompts": 16},
    "20 prompts": {"prompts": 20},
    "28 prompts": {"prompts": 28},
    "32 prompts": {"prompts": 32},
    "40 prompts": {"prompts": 40},
    "4 rows": {"rows": 4},
    "8 rows": {"rows": 8},
    "20 rows": {"rows": 20},
    "from Ward clusters": {"ward": True},
    "few posts": {},
    "few posts, clusters of 8 or more": {"smallest": 8},
    "few posts, 32 prompts of 8 or more": {"prompts": 32, "smallest": 8},
    "few posts, from Ward clusters": {"ward": True},
    "few posts, from Ward clusters of 8 or more": {"ward": True, "smallest": 8},
    "few posts, 40 from Ward clusters of 8 or more": {"prompts": 40, "ward": True, "smallest": 8},
}
"""What is changed in `training.basis.build.BuildOptions`, by name."""

FEW: Final[Mapping[str, int]] = {"chess": 12, "dogs": 12, "list": 12, "verse": 12}
"""Posts of some classes that the variants named "few posts" have, where the others have 54."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to build."""

    name: str
    options: BuildOptions

    @classmethod
    def named(cls, name: str) -> "Variant":
        """One of CHANGES."""
        return cls(name, replace(BuildOptions(), **CHANGES[name]))

    @property
    def has_few(self) -> bool:
        """Whether some classes have FEW posts."""
        return self.name.startswith("few posts")

    def digest(self, revision: str) -> str:
        """The name under which its basis is kept, for a model of this revision."""
        return sha256(json.dumps([revision, asdict(self.options), self.has_few]).encode()).hexdigest()[:12]

    def basis(self, like: Basis, catalogue: LabelledCatalogue) -> Basis:
        """The basis, built from the shown posts with the model of another basis, or as it was kept."""
        if not self.is_built(like):
            self._build(like, catalogue).save(self._folder(like))
        return Basis.load(self._folder(like))

    def is_built(self, like: Basis) -> bool:
        """Whether the basis is kept."""
        return (self._folder(like) / "basis.json").exists()

    def _folder(self, like: Basis) -> Path:
        return BUILT / self.digest(like.revision)

    def _build(self, like: Basis, catalogue: LabelledCatalogue) -> Basis:
        print(f"building: {self.name}")
        torch.manual_seed(self.options.seed)
        model = LanguageModel.load(base_model(like), like.template)
        about, posts = (like.model, like.revision), [post.text for post in self._built_from(catalogue)]
        checkpoint = BUILT / f"{self.digest(like.revision)}.pt"
        basis, _ = build_basis(model, about, embedder(), posts, self.options, checkpoint)
        checkpoint.unlink(missing_ok=True)
        return basis

    def _built_from(self, catalogue: LabelledCatalogue) -> list[Post]:
        kept = with_few(catalogue.shown, FEW if self.has_few else {})
        return [catalogue.shown[place] for place in kept]
