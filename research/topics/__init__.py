"""The closed loop at scale: hidden tastes, reactions, posts; beside the reader told in words and a tuned prompt."""
