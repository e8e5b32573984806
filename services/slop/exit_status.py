"""The exit status by which a training command tells the job that runs it that its result is not to be used."""

from typing import Final

REFUSED: Final = 3
"""What was fitted is no better than what is live. 0 is success, and any other status is a failure."""
