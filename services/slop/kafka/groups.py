"""The consumer groups that learn under a basis."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from slop.kafka.topics import INTERACTIONS, POSTS, SIGNALS, Topic

if TYPE_CHECKING:  # the collector, which knows no basis, needs no numpy
    from slop.basis import Basis

FEATURIZER_GROUP: Final = "slop.featurizer"
POST_TEXTS_GROUP: Final = "slop.featurizer.texts"
POST_FEATURES_GROUP: Final = "slop.featurizer.posts"
LEARNER_GROUP: Final = "slop.learner"


@dataclass(frozen=True, slots=True)
class Groups:
    """The consumer groups that learn under a basis; another basis has others, and so reads the log from its start.

    Attributes:
        interactions: joins interactions with features, which depend on the whole basis.
        texts: stores posts' texts in Redis. Every basis reads all of them again, since texts expire there.
        features: computes text features, which bases that differ in their factors alone share.
        signals: learns.
    """

    interactions: str
    texts: str
    features: str
    signals: str

    @classmethod
    def of(cls, basis: "Basis") -> Self:
        """The groups of a basis, named by its version; `features` is named by its text version."""
        return cls(
            interactions=f"{FEATURIZER_GROUP}.{basis.version}",
            texts=f"{POST_TEXTS_GROUP}.{basis.version}",
            features=f"{POST_FEATURES_GROUP}.{basis.text_version}",
            signals=f"{LEARNER_GROUP}.{basis.version}",
        )

    def read(self) -> tuple[tuple[str, Topic], ...]:
        """Each group with its topic, in the order of the pipeline: each reads what those before it have prepared."""
        return (
            (self.texts, POSTS),
            (self.features, POSTS),
            (self.interactions, INTERACTIONS),
            (self.signals, SIGNALS),
        )
