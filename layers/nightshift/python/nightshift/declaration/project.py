"""What a project says of itself beyond its jobs: who its users are, where its audit trail is, what it must erase again.

A project of one's own says it in layers/application/python/application/project.py:

    from nightshift.declaration import Project

    class Shop(Project):
        def people(self):
            from application.people import Customers  # imported where it is used: no cold start pays for it unasked

            return Customers()

    project = Shop()

Everything is optional. Without the file, or without a method, Nightshift does without, and says so in words where
something needs it.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import SelectBase

from nightshift.declaration.run import Run
from nightshift.errors import DeclarationError

MODULE = "application.project"


class People(Protocol):
    """Who can be told something."""

    def everybody(self) -> Select[Any]:
        """Whoever may be sent anything at all now, one row a person.

        Columns that must be there: `recipient` (a key of any type, unique and with an index), `name` (text), `address`
        (the e-mail address) and `zone` (the name of a time zone).
        Columns that may be: `language` (text), `quiet_start` and `quiet_end` (time, on the person's clock), `channels`
        (text[]: by which of in_app, email and push the person can be reached; by default in_app and email) and `wants`
        (jsonb of booleans by channel or preference: only an explicit false keeps a notice from being written).
        """

    def zones(self) -> SelectBase | None:
        """The different texts in `zone`, in one column of that name, where an index tells them faster than
        `select distinct` over everybody would. None: it does not."""


class AuditTrail(Protocol):
    """Where it is written down that a run has changed something."""

    def line(self, session: Session, run: Run, job: str, counters: Mapping[str, int]) -> None:
        """Write one line, in the transaction that settles the run. Counts only, no personal data."""


class FinalFailures(Protocol):
    """Who wants to know of a critical job that has failed for good, beside the dead-letter queue."""

    def note(self, session: Session, job: str, run_id: UUID, reason: str, at: dt.datetime) -> None:
        """In the transaction that settles the run, under a savepoint: what fails here is logged and undoes nothing."""


@dataclass(frozen=True)
class Reapplied:
    """What became of the erasures that a restore has to do again."""

    again: int
    """Erased again: the backup still had them."""
    unknown: int
    """Newer than the backup, which has nothing that says whom they were about. Somebody must look."""


class AfterRestore(Protocol):
    """What must be done again after a restore, because the backup is older: people who were erased since."""

    table: str
    """The table, with its schema, whose rows say what must be done again. It names nobody."""

    def again(self, session: Session, rows: Iterable[Mapping[str, Any]]) -> Reapplied:
        """Do it again, in the transaction of the restore, for rows of the newest such table there is. Their values are
        text, as COPY writes it."""


class Project:
    """A project that says nothing. One's own overrides what it has."""

    def people(self) -> People | None:
        """Who can be told something. Without it there are no notices but those to operators."""
        return None

    def trail(self) -> AuditTrail | None:
        """Where runs that changed something leave a line. Without it `audited` jobs leave none but the ledger's own."""
        return None

    def failures(self) -> FinalFailures | None:
        """Who notes the final failures of critical jobs."""
        return None

    def owed(self) -> AfterRestore | None:
        """What must be done again after a restore."""
        return None

    def branches(self, *, tables: bool) -> Sequence[Path]:
        """Folders of Alembic migrations to run beside the library's own.

        tables: also make the application's own tables, where the deployment asks for it.
        """
        return ()

    def unsaved(self) -> Mapping[str, str | None]:
        """Tables that a backup leaves out (None), or of which it takes only the rows for which an SQL condition holds.

        By name, with the schema unless that is `public`.
        """
        return {}

    def seeded(self) -> Collection[str]:
        """Tables that the project's own migrations fill. In a restore the backup's rows take the place of these."""
        return ()


@cache
def this_project() -> Project:
    """The project's own `project`, or one that says nothing where there is none.

    Raises:
        DeclarationError: the module is there and `project` is missing, or is no `Project`.
    """
    package = MODULE.partition(".")[0]
    if find_spec(package) is None or find_spec(MODULE) is None:
        return Project()
    found = getattr(import_module(MODULE), "project", None)
    if not isinstance(found, Project):
        raise DeclarationError(f"{MODULE} names no project: write `project = Shop()`, with `class Shop(Project)`")
    return found
