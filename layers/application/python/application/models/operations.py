"""The tables that the example's jobs write for themselves and their operators, in the schema `nightshift`."""

from sqlalchemy import Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import CIDR
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base
from nightshift.database import IN_NIGHTSHIFT, CreatedNow, Json, Timestamp, UuidKey, one_of


class Alert(Base):
    """A finding that somebody should check. At most one is open for each fingerprint."""

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
    """A network, such as an office behind one address, from which many failed sign-ins are normal."""

    __tablename__ = "trusted_networks"
    __table_args__ = IN_NIGHTSHIFT

    network: Mapped[str] = mapped_column(CIDR, primary_key=True)
    note: Mapped[str]
    """Whose network it is, and who says so."""


class Report(Base):
    """A report to the administrators about one period."""

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


class ErasureRecord(Base):
    """Proof that a person was erased. The erasure is repeated after a restore. The row names nobody."""

    __tablename__ = "erasure_ledger"
    __table_args__ = (one_of("mode", "anonymized", "deleted"), IN_NIGHTSHIFT)

    subject_ref: Mapped[str] = mapped_column(primary_key=True)
    """The keyed hash of the user's id, from the request."""
    mode: Mapped[str]
    executed_at: Mapped[Timestamp]


class UnclaimedObject(Base):
    """An object under `uploads/` in the file store that no row of `uploads` names."""

    __tablename__ = "unclaimed_objects"
    __table_args__ = IN_NIGHTSHIFT

    storage_key: Mapped[str] = mapped_column(primary_key=True)
    first_seen_at: Mapped[Timestamp]
    last_seen_at: Mapped[Timestamp]
