"""The learner: updates the profiles of readers by their signals, effectively once."""
