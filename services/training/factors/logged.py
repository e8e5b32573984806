"""Readers' reactions in the log."""

from slop.basis import Basis
from slop.kafka.log import whole_log
from slop.kafka.topics import SIGNALS
from slop.settings import LearningSettings
from slop.signals import learnable
from training.factors.reactions import Reactions, reactions_of


def logged(settings: LearningSettings, basis: Basis) -> Reactions:
    """Readers' reactions under a basis, from slop.signals.v1.

    Raises:
        kafka.errors.KafkaError, TimeoutError: the brokers are away.
    """
    return reactions_of(learnable((record.value for record in whole_log(settings, SIGNALS)), basis), basis.text_size)
