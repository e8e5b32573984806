"""The base model and the sentence embedder: where they are, and how they are converted once."""
