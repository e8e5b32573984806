from loadtests.bench_learner import signals
from loadtests.settings import BenchSettings
from slop.kafka.topics import encode
from slop.signals import learnable
from tests.basis import random_basis


def test_what_the_learner_is_measured_on_can_be_learned() -> None:
    settings = BenchSettings(_env_file=None, bench_events=1_000, bench_users=20)
    basis = random_basis()
    published = signals(settings, basis)
    learned = list(learnable(map(encode, published), basis))
    assert [signal.event_id for signal in learned] == [signal.event_id for signal in published]
    assert len({signal.user_id for signal in learned}) == 20
