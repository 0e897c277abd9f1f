"""How fast mails may be sent."""

import math
from dataclasses import dataclass

from nightshift.deadline import Deadline

LONGEST_PAUSE_SECONDS = 30.0


@dataclass
class Pace:
    """When the next mail may be sent: no more per second than the account allows, with longer and longer pauses while
    the account is throttled.

    Its clock is the remaining time of the invocation.
    """

    deadline: Deadline
    per_second: float
    left: int | None = None
    at_once: int = 1
    throttled: int = 0
    most_failures: int = 0
    """After so many in succession another one ends the round for the channel; one more where it has worked before."""
    failures: int = 0
    """Since something last got through."""
    works: bool = False
    """Something has got through."""

    def __post_init__(self) -> None:
        self.next_at = self.deadline.remaining

    def pause(self, in_the_air: int) -> float | None:
        """Seconds until the next mail may be sent. Infinite: an answer must come first. None: not in this invocation.

        While the account is throttled, only one mail at a time is tried. A channel that keeps failing is left alone:
        each call may take as long as the wait for an answer.
        """
        if self.left == 0 or self.deadline.near or self.failures > self.most_failures + self.works:
            return None
        if in_the_air and (self.throttled or in_the_air == self.at_once or in_the_air == self.left):
            return math.inf
        pause = max(0.0, self.deadline.remaining - self.next_at)
        return pause if pause <= self.deadline.remaining - self.deadline.reserve else None

    def began(self) -> int:
        """Note that a mail is being sent. Returns how often in succession the account was throttled before."""
        # A small delay is made up for, so that the rate is kept; a long one is not.
        self.next_at = min(self.next_at - 1 / self.per_second, self.deadline.remaining)
        return self.throttled

    def throttle(self, before: int) -> None:
        self.throttled = max(self.throttled, before + 1)  # once, for all calls that were open at the same time
        self.next_at = self.deadline.remaining - min(LONGEST_PAUSE_SECONDS, 2.0**self.throttled)

    def fail(self) -> None:
        """Note that the channel has failed, for a reason outside the notice."""
        self.failures += 1

    def succeed(self, before: int) -> None:
        self.failures, self.works = 0, True
        if before == self.throttled:
            self.throttled = 0
        if self.left is not None:
            self.left -= 1
