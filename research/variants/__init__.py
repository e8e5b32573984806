"""Ways to build a basis, each built and judged: how prompts are trained, how many there are, and how long they are."""
