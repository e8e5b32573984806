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
        texts: makes posts' texts known: every basis has all of them again, since Redis forgets them in time.
        features: computes text features, which bases that differ in their factors alone share.
        signals: learns.
    """

    interactions: str
    texts: str
    features: str
    signals: str

    @classmethod
    def of(cls, basis: "Basis") -> Self:
        """Named by the basis' version, or by its text features'."""
        return cls(
            interactions=f"{FEATURIZER_GROUP}.{basis.version}",
            texts=f"{POST_TEXTS_GROUP}.{basis.version}",
            features=f"{POST_FEATURES_GROUP}.{basis.text_version}",
            signals=f"{LEARNER_GROUP}.{basis.version}",
        )

    def read(self) -> tuple[tuple[str, Topic], ...]:
        """Each group with the topic that it reads, in the order in which one waits for another."""
        return (
            (self.texts, POSTS),
            (self.features, POSTS),
            (self.interactions, INTERACTIONS),
            (self.signals, SIGNALS),
        )
