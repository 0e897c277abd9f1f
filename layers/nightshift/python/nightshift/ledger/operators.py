"""The tables of the ledger that operators and the functions of the platform use: no job maps them at its cold start."""

import uuid

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from nightshift.database import (
    IN_NIGHTSHIFT,
    NIGHTSHIFT_SCHEMA,
    Base,
    CreatedNow,
    Json,
    Off,
    Timestamp,
    UuidKey,
    one_of,
)


class ServedDeployment(Base):
    """A deployment that the database serves, or has served: the newest row is the one."""

    __tablename__ = "deployments"
    __table_args__ = IN_NIGHTSHIFT

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    deployment: Mapped[str]
    """`account/region/name`."""
    since: Mapped[CreatedNow]


class CommandRecord(Base):
    """What an operator has asked control to change: written in the transaction that changed it, or was refused."""

    __tablename__ = "commands"
    __table_args__ = (Index("commands_history", text("at desc")), IN_NIGHTSHIFT)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[CreatedNow]
    command: Mapped[str]
    job: Mapped[str | None]
    run_id: Mapped[uuid.UUID | None]
    by: Mapped[str | None]
    """Who, as they said."""
    caller: Mapped[str | None]
    """The ARN of their AWS identity, as their command said."""
    request_id: Mapped[str | None]
    """Of the invocation: under it CloudTrail's data events name the principal, whatever was said."""
    reason: Mapped[str | None]
    arguments: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """The request's other keys."""
    result: Mapped[str]
    """`done`, with what it has replaced; or why it was refused."""


class SignOfLife(Base):
    """When a function of the platform last did its work to the end."""

    __tablename__ = "signs_of_life"
    __table_args__ = IN_NIGHTSHIFT

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[CreatedNow]


class DialRecord(Base):
    """How an operator lets a job work, or all jobs (`EVERY_JOB`). What is not set is as declared."""

    __tablename__ = "dials"
    __table_args__ = IN_NIGHTSHIFT

    job: Mapped[str] = mapped_column(primary_key=True)
    largest_batch: Mapped[int | None]
    rows_per_second: Mapped[float | None]
    pause_seconds: Mapped[float | None]
    hours: Mapped[str | None]
    """In UTC, like `01:00-05:00`."""
    held: Mapped[Off]
    changed_at: Mapped[CreatedNow]
    changed_by: Mapped[str]
    reason: Mapped[str]


class DialChange(Base):
    """What somebody has set the dials to, and why. It is kept."""

    __tablename__ = "dial_changes"
    __table_args__ = (Index("dial_changes_job", "job", "id"), IN_NIGHTSHIFT)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job: Mapped[str]
    dials: Mapped[Json]
    changed_at: Mapped[CreatedNow]
    changed_by: Mapped[str]
    reason: Mapped[str]


class Backfill(Base):
    """A request to run past occurrences of a job, which the supervisor works off, oldest first."""

    __tablename__ = "backfills"
    __table_args__ = (
        one_of("reprocess", "none", "failed", "all"),
        one_of("state", "open", "paused", "done", "cancelled"),
        Index("backfills_open", "created_at", postgresql_where=text("state in ('open', 'paused')")),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    job: Mapped[str] = mapped_column(ForeignKey(f"{NIGHTSHIFT_SCHEMA}.jobs.name"))
    schedule: Mapped[str]
    """As it was when the backfill was asked for, with its time zone: a later one has other occurrences."""
    timezone: Mapped[str | None]
    since: Mapped[Timestamp]
    until: Mapped[Timestamp]
    """Not included."""
    reprocess: Mapped[str]
    state: Mapped[str]
    occurrences: Mapped[int]
    """How many there are from `since` to `until`."""
    reached: Mapped[Timestamp]
    """Occurrences before this instant are done with."""
    run_id: Mapped[uuid.UUID | None]
    """The run that it waits for."""
    counts: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """How many of its runs ended with which outcome, and how many occurrences were left as they are (`kept`)."""
    requested_by: Mapped[str]
    reason: Mapped[str]
    told: Mapped[str | None]
    """Why it is paused or cancelled, and by whom."""
    created_at: Mapped[CreatedNow]
    finished_at: Mapped[Timestamp | None]
