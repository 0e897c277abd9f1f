"""The database as an invocation reaches it: within its deadline, and again after an outage."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database import DatabaseSettings, describe, is_away, session_for, sqlstate
from nightshift.deadline import Deadline

PAUSES = (0.1, 0.2, 0.5, 1.0)
"""Seconds between the first tries to connect: a server needs moments to free the place of the connection before."""
LONGEST_PAUSE = 2.0
ROTATION_SECONDS = 10.0
"""How long what a secret holds may be refused: a rotation changes it at the server first, and then in the secret."""
REFUSED_LOGIN = "28P01"
SHORTEST_CONNECT, LONGEST_CONNECT = 0.1, 30.0
"""What one try may wait for an answer. A server that is gone gives none, and one that was paused needs some time."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Reach:
    """Connections of one invocation, one at a time."""

    settings: DatabaseSettings
    deadline: Deadline
    name: str

    @contextmanager
    def begun(self, begin: Callable[[Session], Found], *, patience: float) -> Iterator[tuple[Session, Found]]:
        """A session for work, and what it began with; that is tried again while the database is away.

        Its statements end before the reserve, in which the end is written down.

        patience: for how many seconds it is tried again; not into the reserve in any case.

        Raises:
            DBAPIError, OSError: the database stayed away, or refused for another reason.
        """
        pauses, reserve = _pauses(), self.deadline.reserve
        until = max(reserve, self.deadline.remaining - patience)
        with ExitStack() as kept:
            while True:
                left = max(1.0, self.deadline.remaining - reserve)
                try:
                    with ExitStack() as tried:
                        session = tried.enter_context(
                            session_for(
                                self.settings,
                                seconds=left,
                                grace=reserve / 2,
                                connect_seconds=min(left, LONGEST_CONNECT),
                                application_name=self.name,
                            )
                        )
                        found = begin(session)
                        kept.enter_context(tried.pop_all())
                        break
                except (DBAPIError, OSError) as cause:
                    pause = self._before_the_next_try(cause, pauses, until)
                time.sleep(pause)
            yield session, found

    def again(self, work: Callable[[Session], Found], *, spare: float) -> Found:
        """Do something on a new connection, and again while the database is away, until `spare` seconds are left.

        Its statements may use all the time but that.

        Raises:
            DBAPIError, OSError: the database stayed away, or refused for another reason.
        """
        pauses = _pauses()
        while True:
            left = max(1.0, self.deadline.remaining - spare)
            try:
                with session_for(
                    self.settings,
                    seconds=left,
                    grace=min(spare, self.deadline.reserve) / 2,
                    connect_seconds=max(SHORTEST_CONNECT, min(self.deadline.remaining - spare / 2, LONGEST_CONNECT)),
                    application_name=self.name,
                ) as session:
                    return work(session)
            except (DBAPIError, OSError) as cause:
                pause = self._before_the_next_try(cause, pauses, spare)
            time.sleep(pause)

    def _before_the_next_try(
        self, cause: DBAPIError | OSError, pauses: Iterator[tuple[float, float]], until: float
    ) -> float:
        """How many seconds to wait. Raises the cause again where no other try would help, or be over `until` seconds
        before the deadline."""
        pause, waited = next(pauses)
        rotated = (
            waited < ROTATION_SECONDS and self.settings.secret_arn is not None and sqlstate(cause) == REFUSED_LOGIN
        )
        if not (is_away(cause) or rotated) or self.deadline.remaining - pause < until:
            raise cause
        telemetry.warn("database.away", reason=describe(cause))
        return pause


def _pauses() -> Iterator[tuple[float, float]]:
    """Each pause, and the seconds of those before it."""
    waited = 0.0
    for pause in chain(PAUSES, repeat(LONGEST_PAUSE)):
        yield pause, waited
        waited += pause
