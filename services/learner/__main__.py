"""`python -m learner`."""

import sys

from kit.worker import stop_on_signals
from learner.app import run
from learner.settings import LearnerSettings
from slop.basis import InvalidBasis
from slop.process_logs import configure_process_logs


def main() -> None:
    """Run the process."""
    settings = LearnerSettings()
    configure_process_logs("learner", settings)
    try:
        run(settings, stop_on_signals())
    except (InvalidBasis, OSError) as error:
        sys.exit(f"learner: {error}")


if __name__ == "__main__":
    main()
