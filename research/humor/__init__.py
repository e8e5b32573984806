"""How well jokes are ranked for new readers after a few ratings."""
