"""Running SLOP natively, without Docker: `python -m native.up` starts everything on this machine."""
