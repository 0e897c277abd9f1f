"""What every command raises that it will not, or cannot, carry out."""


class RefusedError(Exception):
    """The command cannot be meant. The message is one line with the remedy."""
