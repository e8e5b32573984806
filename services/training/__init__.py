"""What fits bases: prompts, the encoder's head, prompts of styles and subjects, factors; jobs run its commands."""

from pathlib import Path
from typing import Final

CATALOGUE: Final = Path(__file__).parent / "data" / "posts.jsonl"
"""The posts that bases are built from."""
