"""The tables of the ledger, in the schema `nightshift`: jobs, runs, attempts. Only Nightshift writes them."""

import uuid
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB
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

OPEN_STATES = ("queued", "running", "interrupted", "retrying")
OUTCOMES = ("succeeded", "failed", "skipped", "missed", "paused", "cancelled", "planned")


class RegisteredJob(Base):
    """A job that was deployed, and whether it is paused. Its row is also the lock for claims of its runs."""

    __tablename__ = "jobs"
    __table_args__ = IN_NIGHTSHIFT

    name: Mapped[str] = mapped_column(primary_key=True)
    registered_at: Mapped[CreatedNow]
    paused_at: Mapped[Timestamp | None]
    paused_by: Mapped[str | None]
    pause_reason: Mapped[str | None]
    schedule: Mapped[str | None]
    """The schedule by which the supervisor expects occurrences; None before its first round, and for a disabled job."""
    accounted_until: Mapped[CreatedNow]
    """Every occurrence of the schedule before this instant has a run."""
    paused_until: Mapped[Timestamp | None]
    """When the pause ends by itself; None: when somebody ends it."""
    silent_since: Mapped[Timestamp | None]
    """The last success, or the registration, after which operators were told that none has come."""


class RunRecord(Base):
    """One run: the execution of an occurrence, a manual call or a backfill. It has exactly one final outcome."""

    __tablename__ = "runs"
    __table_args__ = (
        one_of("trigger", "schedule", "manual", "backfill", "catch_up"),
        one_of("mode", "apply", "plan"),
        one_of("state", *OPEN_STATES, *OUTCOMES),
        # The identity of an occurrence. A plan does not take the occurrence, and a forced run repeats it on purpose.
        Index(
            "runs_occurrence_key",
            "job",
            "scheduled_for",
            unique=True,
            postgresql_where=text("mode = 'apply' and not forced"),
        ),
        # If Lambda delivers an asynchronous manual call again, it has the same request id.
        Index("runs_request_id_key", "request_id", unique=True, postgresql_where=text("request_id is not null")),
        Index("runs_open", "job", "state", postgresql_where=text(f"state in {OPEN_STATES!r}")),
        Index("runs_history", "job", text("scheduled_for desc")),
        Index("runs_finished", "finished_at"),
        Index("runs_unreported", "finished_at", postgresql_where=text("state = 'failed' and reported_at is null")),
        Index(
            "runs_untold",
            "finished_at",
            postgresql_where=text("state = 'failed' and mode = 'apply' and told_at is null"),
        ),
        Index("runs_unrecovered", "job", postgresql_where=text("told_at is not null and recovered_at is null")),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    job: Mapped[str] = mapped_column(ForeignKey(f"{NIGHTSHIFT_SCHEMA}.jobs.name"))
    scheduled_for: Mapped[Timestamp]
    trigger: Mapped[str]
    mode: Mapped[str] = mapped_column(server_default="apply")
    forced: Mapped[Off]
    request_id: Mapped[str | None]
    parameters: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    override: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """Who lifted the cap for this run and why: `{"by": …, "reason": …}`."""
    state: Mapped[str]
    reason: Mapped[str | None]
    epoch: Mapped[int] = mapped_column(server_default=text("0"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    max_attempts: Mapped[int]
    lease_until: Mapped[Timestamp | None]
    step: Mapped[str | None]
    position: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    fingerprint: Mapped[str | None]
    candidates: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """The rows that the run counted before it destroyed any: `{step: rows}`."""
    counters: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    errors: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[CreatedNow]
    started_at: Mapped[Timestamp | None]
    finished_at: Mapped[Timestamp | None]
    reported_at: Mapped[Timestamp | None]
    """When somebody was told of its final failure: Lambda's dead-letter queue, whoever waited for the answer, or the
    queue by the supervisor, which reports what nobody else has."""
    strain: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """What the run waits for or gives way to, and which signals it could not read: see `nightshift.engine.pacing`."""
    notes: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))
    """What whoever looks at the run should read beside the counters: what was kept and why, and advice."""
    told_at: Mapped[Timestamp | None]
    """When the operators were told of its final failure in words, by the supervisor."""
    recovered_at: Mapped[Timestamp | None]
    """When they were told that the job has succeeded since."""
    anomalies: Mapped[dict[str, str] | None] = mapped_column(JSONB)
    """What is unusual about it, in words, by kind: see `nightshift.ledger.anomalies`."""
    judged_at: Mapped[Timestamp | None]
    """When that was settled, after its end."""
    counted: Mapped[str | None]
    """A fingerprint of the queries that the candidates were counted with."""


class Attempt(Base):
    """One invocation that worked on a run. The epoch is its fencing number."""

    __tablename__ = "attempts"
    __table_args__ = (
        one_of("ending", "finished", "interrupted", "failed", "lost"),
        IN_NIGHTSHIFT,
    )

    run_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{NIGHTSHIFT_SCHEMA}.runs.id", ondelete="CASCADE"), primary_key=True
    )
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    request_id: Mapped[str | None]
    started_at: Mapped[Timestamp]
    ended_at: Mapped[Timestamp | None]
    ending: Mapped[str | None]
    error: Mapped[str | None]


class QuarantinedItem(Base):
    """A row that a run could not process and left as it was."""

    __tablename__ = "quarantine"
    __table_args__ = (Index("quarantine_run_id_step_item_key", "run_id", "step", "item", unique=True), IN_NIGHTSHIFT)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{NIGHTSHIFT_SCHEMA}.runs.id", ondelete="CASCADE"))
    step: Mapped[str]
    item: Mapped[str]
    """The row's table and primary key, never its content."""
    error: Mapped[str]
    at: Mapped[CreatedNow]


class Candidate(Base):
    """The key of a row that a run is going to touch, where its condition may mean other rows after the first batch.

    They are written before that, and go with the end of the step.
    """

    __tablename__ = "candidates"
    __table_args__ = IN_NIGHTSHIFT

    run_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{NIGHTSHIFT_SCHEMA}.runs.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    key: Mapped[list[str]]


EVERY_JOB = "*"
"""In place of a job's name: all of them, those that are deployed later as well. No job can have this name."""


class PauseOfAll(Base):
    """A pause of every job at once, beside those of single jobs. There is one row, of `EVERY_JOB`, or none."""

    __tablename__ = "pauses"
    __table_args__ = IN_NIGHTSHIFT

    scope: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[CreatedNow]
    paused_until: Mapped[Timestamp | None]
    paused_by: Mapped[str]
    reason: Mapped[str]


job_runs = Table(
    "job_runs",
    Base.metadata,
    Column("job", Text),
    Column("scheduled_for", DateTime(timezone=True)),
    Column("outcome", Text),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("counters", JSONB),
    schema=NIGHTSHIFT_SCHEMA,
    info={"is_view": True},
)
"""A view: the runs that have ended, without plans. Reports and checks read it."""
