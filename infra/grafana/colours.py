"""Colours, by what they mean: the same on every dashboard."""

from typing import Final

GREEN: Final = "green"
AMBER: Final = "orange"
RED: Final = "red"
GREY: Final = "#8e8e8e"

# The steps of the loop, in its order.
COLLECTOR: Final = "#5794f2"
FEATURIZER: Final = "#b877d9"
LEARNER: Final = "#73bf69"
PROFILES: Final = "#37c2b4"
GENERATION: Final = "#ff9830"
ENGINE: Final = "#f2cc0c"

# The arms.
PERSONAL: Final = LEARNER
CONTROL: Final = GREY
ARMS: Final = {
    "soft": PERSONAL,
    "base": CONTROL,
    "crowd": COLLECTOR,
    "history": FEATURIZER,
    "persona": GENERATION,
    "none": AMBER,
}

# Quantiles of a duration.
USUAL: Final = "#8ab8ff"
SLOW: Final = "#ff9830"

# Why a post is personal or not, and what becomes of records, posts and jobs.
REASONS: Final = {
    "personalized": GENERATION,
    "control": GREY,
    "no_user": GREY,
    "no_profile": COLLECTOR,
    "no_taste": FEATURIZER,
    "no_likes": PROFILES,
    "crowd": LEARNER,
    "redis_unavailable": ENGINE,
    "unsafe_profile": RED,
}
OUTCOMES: Final = {
    "learned": LEARNER,
    "retried": COLLECTOR,
    "applied_before": FEATURIZER,
    "other_basis": AMBER,
    "refused": RED,
    "signal": FEATURIZER,
    "silent": GREY,
    "rejected": RED,
    "parked": COLLECTOR,
    "redelivered": LEARNER,
    "expired": AMBER,
    "superseded": GREY,
    "withdrawn": GREY,
    "passed": USUAL,
    "computed": FEATURIZER,
    "known": GREY,
    "broken": RED,
    "success": LEARNER,
    "retry": AMBER,
    "failure": RED,
    "caller": COLLECTOR,
    "overloaded": RED,
    "too_long": GREY,
    "deadline": ENGINE,
}
