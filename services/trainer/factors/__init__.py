"""Factors of posts: fitted to many readers' reactions, and judged on readers who were held out."""

from trainer.factors.fit import Fit, FitOptions
from trainer.factors.judging import Judge
from trainer.factors.reactions import Reactions, reactions_of

__all__ = ["Fit", "FitOptions", "Judge", "Reactions", "reactions_of"]
