"""Building a basis: clusters of a catalogue found without labels, and one soft prompt trained for each."""
