"""Goals, timers, and the records of use that the analytics count."""

import datetime as dt
import uuid

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base
from application.models.people import FormerUserId, OwnerId
from nightshift.database import CreatedNow, Off, Timestamp, UuidKey, one_of


class Goal(Base):
    """Something that a user wants to get done, with or without a due date."""

    __tablename__ = "goals"
    __table_args__ = (
        one_of("status", "active", "completed", "cancelled"),
        Index("goals_due", "due_on", postgresql_where=text("status = 'active' and archived_at is null")),
        Index("goals_user", "user_id", "completed_at"),
        Index(
            "goals_closed",
            text("coalesce(completed_at, cancelled_at, updated_at)"),
            postgresql_where=text("status <> 'active' and archived_at is null"),
        ),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    title: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="active")
    due_on: Mapped[dt.date | None]
    completed_at: Mapped[Timestamp | None]
    cancelled_at: Mapped[Timestamp | None]
    archived_at: Mapped[Timestamp | None]
    created_at: Mapped[CreatedNow]
    updated_at: Mapped[CreatedNow]


class TimerSession(Base):
    """A span of work with a timer."""

    __tablename__ = "timer_sessions"
    __table_args__ = (
        one_of("status", "running", "paused", "completed", "abandoned"),
        Index("ts_user_created", "user_id", "created_at"),
        Index("ts_created", "created_at"),
        Index("ts_running", "started_at", postgresql_where=text("status = 'running'")),
        Index("ts_goal", "goal_id", postgresql_where=text("goal_id is not null")),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    goal_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("goals.id", ondelete="SET NULL"))
    timer_type: Mapped[str] = mapped_column(server_default="pomodoro")
    status: Mapped[str]
    planned_seconds: Mapped[int | None]
    actual_seconds: Mapped[int | None]
    break_taken: Mapped[Off]
    started_at: Mapped[Timestamp]
    ended_at: Mapped[Timestamp | None]
    created_at: Mapped[CreatedNow]


class FeatureEvent(Base):
    """One use of a feature."""

    __tablename__ = "feature_events"
    __table_args__ = (
        Index("fe_at", "occurred_at", "feature"),
        Index("fe_user", "user_id", postgresql_where=text("user_id is not null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[FormerUserId | None]
    feature: Mapped[str]
    occurred_at: Mapped[CreatedNow]


class UserActivityDay(Base):
    """A day, in UTC, on which a user was active."""

    __tablename__ = "user_activity_days"
    __table_args__ = (Index("uad_day", "day"),)

    user_id: Mapped[OwnerId] = mapped_column(primary_key=True)
    day: Mapped[dt.date] = mapped_column(primary_key=True)


class RequestStats(Base):
    """A minute of one route's requests, with a histogram of their durations."""

    __tablename__ = "request_stats"

    minute: Mapped[Timestamp] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]
    errors: Mapped[int]
    sum_ms: Mapped[int] = mapped_column(BigInteger)
    hist: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    """281 counts: 100 buckets of 1 ms, 90 of 10 ms (to 1 s), 90 of 100 ms (to 10 s), and one for the rest."""
