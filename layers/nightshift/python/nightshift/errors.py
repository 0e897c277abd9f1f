"""What can go wrong, by what a caller does about it; and how the text of an error, or of a person, is kept."""

MOST_BYTES = 2_048
"""So long at most is a text that is kept, in UTF-8."""


def printable(text: str, *, most: int = MOST_BYTES) -> str:
    """A text in one line, trimmed, with what cannot be printed or sent to PostgreSQL (NUL, lone surrogates) escaped."""
    line = " ".join(text.split())[: most + 1]  # a character takes a byte at least
    escaped = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    encoded = escaped.encode()
    if len(encoded) <= most:
        return escaped
    return encoded[: most - len("…".encode())].decode(errors="ignore") + "…"


class DeclarationError(ValueError):
    """A job is declared in a way that cannot work. Raised when its module is imported; the message holds the remedy."""


class SettingError(ValueError):
    """A setting has a value that cannot be meant. Raised at synth and again at run time, before anything is changed."""


class EventError(ValueError):
    """An invocation's payload is none of the forms a job understands. Nothing was changed."""


class Interrupted(Exception):  # noqa: N818 - not an error: the run goes on in the next attempt
    """The attempt is about to run out of time and stops at a batch boundary."""


class Held(Interrupted):
    """The attempt waited as long as it may for strain, an operator or a freeze to end. The message says for what."""


class Fenced(Exception):  # noqa: N818 - not an error: another attempt has taken over
    """The run has a newer epoch: this attempt is a zombie and its transaction is rolled back."""


class PermanentError(RuntimeError):
    """A failure that another attempt would only repeat: the run is failed at once."""


class CapExceededError(PermanentError):
    """A destructive run has more candidates than its cap allows and has not begun."""


class PassedPlanError(PermanentError):
    """A batch deleted more than was planned, or rows of a table that was not. It was rolled back."""


class ErrorBudgetExceededError(PermanentError):
    """More rows were quarantined than a run may lose and still be called a success."""


class RunFailedError(RuntimeError):
    """An attempt failed. Raised to Lambda in place of the cause, whose own text may hold a row's content."""


class UnclaimedError(RunFailedError):
    """The attempt did not even begin: the database cannot be reached, or the ledger is locked."""


class DatabaseAwayError(RunFailedError):
    """The attempt lost its connection, and the database did not come back before the end of the invocation."""
