"""What a program of SLOP's tells a person and then ends."""


class UserError(Exception):
    """It can't go on; the message tells a person why, and what to do."""
