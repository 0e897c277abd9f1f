"""How fast mails may go out."""

import math
from dataclasses import dataclass

from nightshift.deadline import Deadline

LONGEST_PAUSE_SECONDS = 30.0


@dataclass
class Pace:
    """When the next may be sent: not more a second than the account may, and ever longer pauses while it is throttled.

    Its clock is what remains of the invocation.
    """

    deadline: Deadline
    per_second: float
    left: int | None = None
    at_once: int = 1
    throttled: int = 0

    def __post_init__(self) -> None:
        self.next_at = self.deadline.remaining

    def pause(self, in_the_air: int) -> float | None:
        """Seconds until the next may be sent; infinite while an answer must come first; None: not by this invocation.

        While the account is throttled, one at a time is tried.
        """
        if self.left == 0 or self.deadline.near:
            return None
        if in_the_air and (self.throttled or in_the_air == self.at_once or in_the_air == self.left):
            return math.inf
        pause = max(0.0, self.deadline.remaining - self.next_at)
        return pause if pause <= self.deadline.remaining - self.deadline.reserve else None

    def began(self) -> int:
        """One is being sent. Returns how many times in a row the account has been throttled before."""
        # Turns keep their distance also when one is a little late; a longer delay is not made up for.
        self.next_at = min(self.next_at - 1 / self.per_second, self.deadline.remaining)
        return self.throttled

    def throttle(self, before: int) -> None:
        self.throttled = max(self.throttled, before + 1)  # once, for all that were in the air together
        self.next_at = self.deadline.remaining - min(LONGEST_PAUSE_SECONDS, 2.0**self.throttled)

    def succeed(self, before: int) -> None:
        if before == self.throttled:
            self.throttled = 0
        if self.left is not None:
            self.left -= 1
