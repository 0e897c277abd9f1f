"""What the jobs write for themselves and their operators, in the schema `nightshift`."""

import uuid
from decimal import Decimal

from sqlalchemy import BigInteger, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import CIDR
from sqlalchemy.orm import Mapped, mapped_column

from nightshift.models.base import IN_NIGHTSHIFT, Base, CreatedNow, Json, Off, Timestamp, UuidKey, one_of
from nightshift.models.identity import OwnerId


class Notification(Base):
    """One message to one recipient by one channel, sent at most once.

    `sending` is claimed; `unknown` was claimed by a sender that never told whether it got through, and is not sent
    again.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        one_of("channel", "in_app", "email", "push", "ops"),
        one_of("status", "pending", "sending", "sent", "unknown", "failed", "suppressed"),
        Index("notif_outbox", "channel", "scheduled_for", postgresql_where=text("status = 'pending'")),
        Index("notif_sending", "claimed_at", postgresql_where=text("status = 'sending'")),
        Index("notif_sent", "sent_at", postgresql_where=text("status = 'sent'")),
        Index("notif_user", "user_id", text("created_at desc")),
        Index("notif_created", "created_at"),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId | None]
    channel: Mapped[str]
    kind: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    data: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    dedupe_key: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(server_default="pending")
    scheduled_for: Mapped[Timestamp]
    created_at: Mapped[CreatedNow]
    sent_at: Mapped[Timestamp | None]
    read_at: Mapped[Timestamp | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    claimed_at: Mapped[Timestamp | None]
    error: Mapped[str | None]
    """Why it was not sent, or was not sent at once. It quotes neither address nor text."""


class Alert(Base):
    """A finding that somebody should look at. One is open for each fingerprint."""

    __tablename__ = "alerts"
    __table_args__ = (
        one_of("severity", "low", "medium", "high", "critical"),
        one_of("status", "open", "acknowledged", "resolved"),
        Index("alerts_open", "fingerprint", unique=True, postgresql_where=text("status <> 'resolved'")),
        Index("alerts_seen", "fingerprint", "last_seen_at"),
        Index("alerts_untold", "rule", postgresql_where=text("notified_at is null and status <> 'resolved'")),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    rule: Mapped[str]
    fingerprint: Mapped[str]
    severity: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="open")
    occurrences: Mapped[int] = mapped_column(server_default=text("1"))
    details: Mapped[Json]
    first_seen_at: Mapped[Timestamp]
    last_seen_at: Mapped[Timestamp]
    notified_at: Mapped[Timestamp | None]
    acknowledged_at: Mapped[Timestamp | None]
    resolved_at: Mapped[Timestamp | None]


class TrustedNetwork(Base):
    """A network, such as an office behind one address, from which many failed sign-ins are nothing to be alarmed at."""

    __tablename__ = "trusted_networks"
    __table_args__ = IN_NIGHTSHIFT

    network: Mapped[str] = mapped_column(CIDR, primary_key=True)
    note: Mapped[str]
    """Whose it is, and who says so."""


class Report(Base):
    """A report for the administrators, on one period."""

    __tablename__ = "reports"
    __table_args__ = (
        one_of("kind", "daily", "weekly", "monthly"),
        UniqueConstraint("kind", "period_start"),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    kind: Mapped[str]
    period_start: Mapped[Timestamp]
    period_end: Mapped[Timestamp]
    data: Mapped[Json]
    s3_key: Mapped[str | None]
    created_at: Mapped[CreatedNow]


class MetricRollup(Base):
    """The figures of one scope (`day`, `week`, `perf_10m`, …) for one period."""

    __tablename__ = "metric_rollups"
    __table_args__ = IN_NIGHTSHIFT

    scope: Mapped[str] = mapped_column(primary_key=True)
    period_start: Mapped[Timestamp] = mapped_column(primary_key=True)
    period_end: Mapped[Timestamp]
    data: Mapped[Json]
    computed_at: Mapped[CreatedNow]


class MetricFinding(Base):
    """A figure that moved much, or stands out."""

    __tablename__ = "metric_findings"
    __table_args__ = (
        one_of("kind", "trend", "anomaly"),
        UniqueConstraint("kind", "scope", "period_start", "metric"),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    kind: Mapped[str]
    scope: Mapped[str]
    period_start: Mapped[Timestamp]
    metric: Mapped[str]
    value: Mapped[float | None]
    baseline: Mapped[float | None]
    change_pct: Mapped[Decimal | None]
    significant: Mapped[Off]
    created_at: Mapped[CreatedNow]


class HealthCheck(Base):
    """How the parts of the system were at one moment."""

    __tablename__ = "health_checks"
    __table_args__ = (
        one_of("overall", "healthy", "degraded", "unhealthy"),
        Index("hc_at", text("checked_at desc")),
        IN_NIGHTSHIFT,
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    checked_at: Mapped[Timestamp]
    overall: Mapped[str]
    components: Mapped[Json]
    duration_ms: Mapped[int]


class Backup(Base):
    """A snapshot or a logical export, from its start to its expiry."""

    __tablename__ = "backups"
    __table_args__ = (
        one_of("kind", "snapshot", "logical"),
        one_of("tier", "daily", "weekly", "monthly"),
        one_of("status", "running", "succeeded", "failed", "expired"),
        UniqueConstraint("kind", "scheduled_for"),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    kind: Mapped[str]
    tier: Mapped[str]
    scheduled_for: Mapped[Timestamp]
    status: Mapped[str]
    location: Mapped[str | None]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    manifest: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    expires_at: Mapped[Timestamp]
    verified_at: Mapped[Timestamp | None]
    restore_tested_at: Mapped[Timestamp | None]
    error: Mapped[str | None]
    started_at: Mapped[Timestamp]
    finished_at: Mapped[Timestamp | None]


class ErasureRecord(Base):
    """Proof that a person was erased, to be applied again after a restore. It names nobody."""

    __tablename__ = "erasure_ledger"
    __table_args__ = (one_of("mode", "anonymized", "deleted"), IN_NIGHTSHIFT)

    subject_ref: Mapped[str] = mapped_column(primary_key=True)
    """The keyed hash of the user's id that the request carried."""
    mode: Mapped[str]
    executed_at: Mapped[Timestamp]


class UnclaimedObject(Base):
    """An object under `uploads/` in the file store that no row of `uploads` names."""

    __tablename__ = "unclaimed_objects"
    __table_args__ = IN_NIGHTSHIFT

    storage_key: Mapped[str] = mapped_column(primary_key=True)
    first_seen_at: Mapped[Timestamp]
    last_seen_at: Mapped[Timestamp]


class Difference(Base):
    """A row whose stored figure is not the computed one: the list that a recomputation works off."""

    __tablename__ = "differences"
    __table_args__ = IN_NIGHTSHIFT

    step: Mapped[str] = mapped_column(primary_key=True)
    """The name of the step that recomputes."""
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 1 on without a gap, in the order in which the rows lie in their table."""
    key: Mapped[uuid.UUID]
    found: Mapped[int] = mapped_column(BigInteger)
    computed: Mapped[int] = mapped_column(BigInteger)
