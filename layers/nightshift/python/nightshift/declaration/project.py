"""What a project tells Nightshift besides its jobs: who its people are, where its audit trail is, what to erase again.

Your own project does so in layers/application/python/application/project.py:

    from nightshift.declaration import Project

    class Shop(Project):
        def people(self):
            from .people import Customers  # imported only when it is used, so that cold starts stay short

            return Customers()

    project = Shop()

Everything is optional. Without the file or a method, Nightshift works without that part. If something needs it, the
error message says so.
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
    """The people who can receive notices."""

    def everybody(self) -> Select[Any]:
        """Everybody who may receive something now, one row for each person.

        Required columns: `recipient` (a key of any type, unique and indexed), `name` (text), `address` (the e-mail
        address) and `zone` (the name of a time zone).
        Optional columns: `language` (text), `quiet_start` and `quiet_end` (time, on the person's clock), `channels`
        (text[]: which of in_app, email and push reach the person; by default in_app and email), `wants` (jsonb of
        booleans by channel or preference: only an explicit false stops a notice) and `unsubscribe_url` (text: an https
        address of the application at which a POST without a sign-in takes this person off, so one that nobody can
        guess: mail programs then offer it as one click).
        """

    def zones(self) -> SelectBase | None:
        """The distinct values of `zone`, in one column of that name, if an index can list them faster than
        `select distinct` over everybody. None if it cannot."""


class AuditTrail(Protocol):
    """Where the project records that a run changed something."""

    def line(self, session: Session, run: Run, job: str, counters: Mapping[str, int]) -> None:
        """Write one line, in the transaction that ends the run. Counts only, no personal data."""


class FinalFailures(Protocol):
    """Who is told, besides the dead-letter queue, when a critical job has finally failed."""

    def note(self, session: Session, job: str, run_id: UUID, reason: str, at: dt.datetime) -> None:
        """In the transaction that ends the run, under a savepoint: an error here is logged and undoes nothing else."""


@dataclass(frozen=True)
class Reapplied:
    """The result of the erasures that a restore has to repeat."""

    again: int
    """Erased again, because the backup still had them."""
    unknown: int
    """Unknown: newer than the backup, which does not say whose they were. A person must look at them."""


class AfterRestore(Protocol):
    """What a restore must repeat because it happened after the backup: the erasure of people."""

    table: str
    """The table, with its schema, whose rows say what to repeat. It contains nobody's name."""

    def again(self, session: Session, rows: Iterable[Mapping[str, Any]]) -> Reapplied:
        """Repeat it, in the transaction of the restore, for the rows of the newest such table. Their values are text,
        as COPY writes it."""


class Project:
    """A project without any of it. Your own class overrides what it provides."""

    def people(self) -> People | None:
        """The people who can receive notices. Without them, only operators receive notices."""
        return None

    def trail(self) -> AuditTrail | None:
        """The audit trail of `audited` jobs. Without it, only the ledger records their runs."""
        return None

    def failures(self) -> FinalFailures | None:
        """Who is told about the final failures of critical jobs."""
        return None

    def owed(self) -> AfterRestore | None:
        """What a restore must repeat."""
        return None

    def branches(self, *, tables: bool) -> Sequence[Path]:
        """Folders of Alembic migrations to run in addition to the library's own.

        tables: also create the application's tables, because the deployment asks for it.
        """
        return ()

    def unsaved(self) -> Mapping[str, str | None]:
        """Tables that a backup leaves out (None), or from which it takes only the rows that match an SQL condition.

        By name, with the schema unless it is `public`.
        """
        return {}

    def seeded(self) -> Collection[str]:
        """Tables that the project's own migrations fill. A restore replaces their rows with those of the backup."""
        return ()


@cache
def this_project() -> Project:
    """The project's own `project`, or an empty one if there is none.

    Raises:
        DeclarationError: the module exists, but `project` is missing or is not a `Project`.
    """
    package = MODULE.partition(".")[0]
    if find_spec(package) is None or find_spec(MODULE) is None:
        return Project()
    found = getattr(import_module(MODULE), "project", None)
    if not isinstance(found, Project):
        raise DeclarationError(f"{MODULE} has no project: write `project = Shop()`, with `class Shop(Project)`")
    return found


def other_branches(*, tables: bool) -> list[Path]:
    """The project's migrations that a deployment does not run, and another one might: see `Project.branches`."""
    wanted = this_project().branches(tables=tables)
    return [each for each in this_project().branches(tables=True) if each not in wanted]
