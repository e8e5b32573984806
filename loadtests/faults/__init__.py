"""The fault suite: a stack of its own under load, whose parts are killed, starved and cut off, one after the other."""
