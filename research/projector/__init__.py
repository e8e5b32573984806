"""A projector from all of a reader's weights to one soft prompt.

As in Embedding-to-Prefix (Huber et al. 2025, arXiv 2505.17051), a small network maps a vector of the reader to a prefix
of a frozen model. Here it adds a learned residual to the average of the basis' prompts by the reader's shares; for a
reader of one taste that average is a prompt of the basis. It is trained on simulated readers whose tastes are one, two
or four clusters of the catalogue.
"""

from research.projector.network import InvalidProjector, Projector
from research.projector.training import ProjectorOptions, train_projector

__all__ = ["InvalidProjector", "Projector", "ProjectorOptions", "train_projector"]
