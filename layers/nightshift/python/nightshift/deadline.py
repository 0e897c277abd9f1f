"""The end of the invocation, and the reserve that is kept to stop in order."""

from collections.abc import Callable


class Deadline:
    """The end of the invocation, and the reserve that an attempt keeps to stop in order.

    The reserve is a tenth of the time at the start, at least one second and at most ten.
    """

    def __init__(self, remaining_seconds: Callable[[], float]) -> None:
        self._remaining = remaining_seconds
        self.reserve = min(10.0, max(1.0, remaining_seconds() / 10))

    @property
    def remaining(self) -> float:
        """Seconds until the invocation is killed."""
        return self._remaining()

    @property
    def near(self) -> bool:
        return self.remaining < self.reserve
