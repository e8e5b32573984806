"""`python -m featurizer`."""

import sys

from featurizer.app import run
from featurizer.settings import FeaturizerSettings
from kit.logs import configure_logs
from kit.worker import stop_on_signals
from slop.basis import InvalidBasis
from slop.embedder import InvalidEmbedder


def main() -> None:
    """Run the process."""
    settings = FeaturizerSettings()
    configure_logs("featurizer", settings.log_level, settings.log_format)
    try:
        run(settings, stop_on_signals())
    except (InvalidBasis, InvalidEmbedder, OSError) as error:
        sys.exit(f"featurizer: {error}")


if __name__ == "__main__":
    main()
