"""The error that a program shows to a person before it ends."""


class UserError(Exception):
    """The program can't go on; the message says why, and what to do."""
