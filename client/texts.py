"""Sampling parameters, and texts with their counts and likelihoods."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters, the same in every arm of a study; `min_p` is generation's default."""

    temperature: float = 0.8
    max_tokens: int = 48
    min_p: float = 0.05


@dataclass(frozen=True, slots=True)
class WrittenTexts:
    """Posts that were written for one chat, and how many tokens the chat has."""

    posts: list[str]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class TextScore:
    """Log-likelihood of a text in nats, and its number of tokens."""

    log_likelihood: float
    tokens: int
