"""What a personal post costs: a soft prompt against a reader's liked posts as text."""
