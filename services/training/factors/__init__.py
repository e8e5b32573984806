"""Factors of posts: fitted to many readers' reactions, and judged on readers who were held out."""

from training.factors.fit import Fit, FitOptions
from training.factors.judging import Judge
from training.factors.reactions import Reactions, reactions_of

__all__ = ["Fit", "FitOptions", "Judge", "Reactions", "reactions_of"]
