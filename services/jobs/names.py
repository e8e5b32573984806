"""Names of the jobs and of the queues that they wait in."""

from typing import Final

LIGHT: Final = "light"
HEAVY: Final = "heavy"
QUEUES: Final = (LIGHT, HEAVY)

CENSUS: Final = "census"
SNAPSHOT_PROFILES: Final = "snapshot_profiles"
PREGENERATE: Final = "pregenerate"
FIT_BASIS: Final = "fit_basis"
FIT_FACTORS: Final = "fit_factors"
TASKS: Final = (CENSUS, SNAPSHOT_PROFILES, PREGENERATE, FIT_BASIS, FIT_FACTORS)
