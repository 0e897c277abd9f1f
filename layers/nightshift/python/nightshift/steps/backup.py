"""A step that is one part of a night's backup. `Backup.parts()` gives all four, in their order."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from sqlalchemy.orm import Session

from nightshift.declaration import Execution, Parameter, Run, StepDefaults, StepPlan
from nightshift.outbox import tell_operators
from nightshift.steps.backups.expiry import expire, plan_expiry
from nightshift.steps.backups.export import export_tables, plan_export
from nightshift.steps.backups.snapshots import take_snapshot
from nightshift.steps.backups.verification import verify
from nightshift.store.records import BACKUPS, KEEP_DAILY, KEEP_MONTHLY, KEEP_WEEKLY

if TYPE_CHECKING:
    from nightshift.engine.checking import Finding

Part = Literal["snapshot", "export", "verify", "expire"]

Problems = Callable[[Session, Run, Sequence[tuple[str, str]]], None]
"""Told of snapshots that failed, each with its name and reason, in the transaction that notes them. Also of none."""


def tell_of_snapshots(session: Session, run: Run, problems: Sequence[tuple[str, str]]) -> None:
    """Tell the operators, once a run."""
    if problems:
        tell_operators(
            session,
            run,
            key=f"{run.job}|snapshots|{run.now:%Y-%m-%dT%H:%M:%SZ}",
            title="A snapshot of the database has failed",
            body="The export to the file store goes on without it. Look at the database's snapshots in RDS.",
            data=dict(problems),
        )


@dataclass(frozen=True, kw_only=True)
class Backup(StepDefaults):
    """One part of a backup of the whole database: every table of every schema that the role may read.

    snapshot: begin one by RDS, where the database is one of RDS, and follow the earlier ones.
    export: copy every table to the file store, from one snapshot of the database, with the schema beside the rows.
    verify: read the export back. Only then has the backup succeeded.
    expire: delete what has had its time, but never the last good backup.

    `Project.unsaved` says what is left out. What the role may not read is named in the plan and in the manifest.
    The job needs `files` and `snapshots`.

    problems: who is told of snapshots that failed; by default the operators.
    """

    part: Part
    problems: Problems = tell_of_snapshots

    folders: ClassVar[tuple[str, ...]] = ("backups/",)

    @classmethod
    def parts(cls, *, problems: Problems = tell_of_snapshots) -> "tuple[Backup, ...]":
        """The steps of a backup."""
        parts: tuple[Part, ...] = ("snapshot", "export", "verify", "expire")
        return tuple(cls(part=part, problems=problems) for part in parts)

    @property
    def name(self) -> str:
        return self.part

    @property
    def counters(self) -> tuple[str, ...]:
        return COUNTERS[self.part]

    @property
    def changes(self) -> tuple[str, ...]:
        return CHANGES.get(self.part, ())

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return (KEEP_DAILY, KEEP_WEEKLY, KEEP_MONTHLY)

    @property
    def tables(self) -> tuple[str, ...]:
        return (BACKUPS,)

    @property
    def destructive(self) -> bool:
        return self.part == "expire"

    def fingerprint(self, run: Run) -> str:
        """A digest of the part's source: a position that other code earned may mean something else."""
        return hashlib.sha256(inspect.getsource(WORK[self.part]).encode()).hexdigest()[:16]

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        plan = PLANS.get(self.part)
        return plan(session, run) if plan else []

    def check(self, session: Session, run: Run) -> "list[Finding]":
        """Of the export, the tables that it will lack. Only a check imports what finds them."""
        from nightshift.steps.checking import check_export

        return list(check_export(session)) if self.part == "export" else []

    def apply(self, execution: Execution) -> None:
        if self.part == "snapshot":
            take_snapshot(execution, self.problems)
        else:
            WORK[self.part](execution)


WORK: Mapping[Part, Callable[..., None]] = {
    "snapshot": take_snapshot,
    "export": export_tables,
    "verify": verify,
    "expire": expire,
}

PLANS: Mapping[Part, Callable[[Session, Run], list[StepPlan]]] = {"export": plan_export, "expire": plan_expiry}
"""The other parts change nothing of the application's, and what they will find is not known before."""

COUNTERS: Mapping[Part, tuple[str, ...]] = {
    "snapshot": (),
    "export": ("tables", "rows", "bytes", "unreadable"),
    "verify": ("verified",),
    "expire": ("expired_deleted",),
}

CHANGES: Mapping[Part, tuple[str, ...]] = {"export": ("tables",), "expire": ("expired_deleted",)}
