"""Commands that fit a basis or a part of it: prompts, head, style × subject prompts, factors. Jobs run them."""

from pathlib import Path
from typing import Final

CATALOGUE: Final = Path(__file__).parent / "data" / "posts.jsonl"
"""The posts that bases are built from."""
