"""The death of a process at any point: at a statement, at a commit, at a call to AWS."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from unittest.mock import patch

from botocore.client import BaseClient
from botocore.exceptions import ClientError
from sqlalchemy import Connection, Engine, event, text

Kind = Literal["dies", "loses the answer"]
"""dies: before the statement, commit or call is sent. loses the answer: a commit is done, and nobody hears of it."""


class Death(BaseException):
    """Nothing of the process handles this, as nothing handles the end of a process."""


class Life:
    """Counts what a process does, and ends it at one of these points."""

    def __init__(self, *, ends_at: int, kind: Kind) -> None:
        self.ends_at, self.kind = ends_at, kind
        self.points: list[str] = []

    def reach(self, what: str) -> None:
        self.points.append(what)
        if len(self.points) == self.ends_at:
            raise Death(what)

    @contextmanager
    def lived(self) -> Iterator[None]:
        """All that is done within, by whatever thread, is part of this life."""
        call: Any = vars(BaseClient)["_make_api_call"]

        def calling(client: Any, operation: str, arguments: Any) -> Any:
            self.reach(operation)
            return call(client, operation, arguments)

        def stating(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
            self.reach(statement)

        def committing(connection: Connection) -> None:
            if self.kind == "loses the answer":
                connection.connection.commit()
            self.reach("commit")

        with ExitStack() as listening:
            listen(listening, "commit", committing)
            if self.kind == "dies":
                listen(listening, "before_cursor_execute", stating)
                listening.enter_context(patch.object(BaseClient, "_make_api_call", calling))
            yield


def listen(until: ExitStack, name: str, told: Callable[..., None]) -> None:
    event.listen(Engine, name, told)
    until.callback(event.remove, Engine, name, told)


class Sleep:
    """An attempt that falls asleep as its n-th transaction begins, and wakes when `meanwhile` has been done."""

    def __init__(self, before: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.before, self._meanwhile = before, meanwhile
        self.transactions = 0
        self.calls_afterwards: list[str] = []
        """What it has asked AWS for after it woke."""
        self._awake = True

    @contextmanager
    def slept(self) -> Iterator[None]:
        call: Any = vars(BaseClient)["_make_api_call"]

        def beginning(_connection: Connection) -> None:
            self.transactions += self._awake
            if self.transactions == self.before and self._awake:
                self._awake = False
                self._meanwhile()
                self._awake = True
                self.before = 0

        def calling(client: Any, operation: str, arguments: Any) -> Any:
            if not self.before:
                self.calls_afterwards.append(operation)
            return call(client, operation, arguments)

        with ExitStack() as listening:
            listen(listening, "begin", beginning)
            listening.enter_context(patch.object(BaseClient, "_make_api_call", calling))
            yield


class Refusal:
    """AWS answers with an error, from the n-th call on, whatever it is asked."""

    def __init__(self, *, after: int, code: str, status: int) -> None:
        self.after, self._code, self._status = after, code, status
        self.refused: list[str] = []
        self.answered: list[str] = []

    @contextmanager
    def met(self) -> Iterator[None]:
        call: Any = vars(BaseClient)["_make_api_call"]

        def calling(client: Any, operation: str, arguments: Any) -> Any:
            if len(self.answered) < self.after:
                self.answered.append(operation)
                return call(client, operation, arguments)
            self.refused.append(operation)
            answer: Any = {"Error": {"Code": self._code}, "ResponseMetadata": {"HTTPStatusCode": self._status}}
            raise ClientError(answer, operation)

        with patch.object(BaseClient, "_make_api_call", calling):
            yield


def ends_of_lives() -> Iterator[int]:
    """At which point one life after the other ends: at each of the first, and then further and further apart.

    With NIGHTSHIFT_EVERY_POINT in the environment: at every one.
    """
    end, growth = 0, 0.0 if "NIGHTSHIFT_EVERY_POINT" in os.environ else 0.2
    while True:
        end += 1 + int(end * growth)
        yield end


def let_the_lease_end(engine: Engine) -> None:
    """Time passes until another attempt may take the run over. That one is not its last."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "update nightshift.runs set attempts = 0, lease_until = clock_timestamp() - interval '1 second' "
                "where state = 'running'"
            )
        )
