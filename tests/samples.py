"""What this process would tell Prometheus."""

from prometheus_client import REGISTRY


def sample(name: str, **labels: object) -> float:
    """The value of a series now; raises LookupError if there is none."""
    value = REGISTRY.get_sample_value(name, {key: str(label) for key, label in labels.items()})
    if value is None:
        raise LookupError(f"{name} {labels}")
    return value
