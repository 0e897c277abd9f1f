"""The database as an invocation reaches it: within its deadline, and again after an outage."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database import DatabaseSettings, describe, is_away, session_for
from nightshift.deadline import Deadline

PAUSES = (0.1, 0.2, 0.5, 1.0)
"""Seconds between the first tries to connect: a server needs moments to free the place of the connection before."""
LONGEST_PAUSE = 2.0
LONGEST_CONNECT = 30.0
"""What one try may wait for an answer. A server that is gone gives none, and one that was paused needs some time."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Reach:
    """Connections of one invocation, one at a time."""

    settings: DatabaseSettings
    deadline: Deadline
    name: str

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session for work: its statements end before the reserve, in which the end is written down."""
        reserve = self.deadline.reserve
        with session_for(
            self.settings,
            seconds=max(1.0, self.deadline.remaining - reserve),
            grace=reserve / 2,
            application_name=self.name,
        ) as session:
            yield session

    def again(self, work: Callable[[Session], Found], *, spare: float) -> Found:
        """Do something on a new connection, and again while the database is away, until `spare` seconds are left.

        Its statements may use all the time but that.

        Raises:
            DBAPIError, OSError: the database stayed away, or refused for another reason.
        """
        pauses = chain(PAUSES, repeat(LONGEST_PAUSE))
        while True:
            left = max(1.0, self.deadline.remaining - spare)
            try:
                with session_for(
                    self.settings,
                    seconds=left,
                    grace=min(spare, self.deadline.reserve) / 2,
                    connect_seconds=min(left, LONGEST_CONNECT),
                    application_name=self.name,
                ) as session:
                    return work(session)
            except (DBAPIError, OSError) as cause:
                pause = next(pauses)
                if not is_away(cause) or self.deadline.remaining - pause < spare:
                    raise
                telemetry.warn("database.away", reason=describe(cause))
            time.sleep(pause)
