"""Ways to make features of a post: how well readers are learned from them, and what they cost."""
