"""vLLM, as SLOP starts it."""
