"""`python -m learner`."""

import sys

from kit.logs import configure_logs
from kit.worker import stop_on_signals
from learner.app import run
from learner.settings import LearnerSettings
from slop.basis import InvalidBasis


def main() -> None:
    """Run the process."""
    settings = LearnerSettings()
    configure_logs("learner", settings.log_level, settings.log_format)
    try:
        run(settings, stop_on_signals())
    except (InvalidBasis, OSError) as error:
        sys.exit(f"learner: {error}")


if __name__ == "__main__":
    main()
