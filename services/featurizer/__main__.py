"""`python -m featurizer`."""

import sys

from featurizer.app import run
from featurizer.settings import FeaturizerSettings
from kit.worker import stop_on_signals
from slop.basis import InvalidBasis
from slop.embedder import InvalidEmbedder
from slop.process_logs import configure_process_logs


def main() -> None:
    """Run the process."""
    settings = FeaturizerSettings()
    configure_process_logs("featurizer", settings)
    try:
        run(settings, stop_on_signals())
    except (InvalidBasis, InvalidEmbedder, OSError) as error:
        sys.exit(f"featurizer: {error}")


if __name__ == "__main__":
    main()
