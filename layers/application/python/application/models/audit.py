"""The audit log, and the archives of its old months."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base, Country, IpAddress
from application.models.identity import ApiKey
from application.models.people import FormerUserId
from nightshift.database import IN_NIGHTSHIFT, NIGHTSHIFT_SCHEMA, CreatedNow, Json, Off, Timestamp, UuidKey, one_of


class AuditLog(Base):
    """Who did what, and when. Append-only for the application: the migration has the guard."""

    __tablename__ = "audit_logs"
    __table_args__ = (
        one_of("actor_type", "user", "api_key", "system"),
        one_of("severity", "low", "medium", "high", "critical"),
        one_of("status", "success", "failure", "partial", "warning"),
        Index("audit_at", "occurred_at"),
        Index("audit_action_at", "action", "occurred_at"),
        Index("audit_actor_at", "actor_id", text("occurred_at desc")),
        Index("audit_todo_anon", "occurred_at", postgresql_where=text("anonymized_at is null")),
        Index("audit_todo_arch", "occurred_at", postgresql_where=text("archive_id is null")),
        Index("audit_archive", "archive_id", postgresql_where=text("archive_id is not null")),
        Index("audit_api_key", "api_key_id", postgresql_where=text("api_key_id is not null")),
        Index("audit_session", "session_id", postgresql_where=text("session_id is not null")),
    )

    id: Mapped[UuidKey]
    occurred_at: Mapped[CreatedNow]
    actor_type: Mapped[str] = mapped_column(server_default="user")
    actor_id: Mapped[FormerUserId | None]
    api_key_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(ApiKey.id, ondelete="SET NULL"))
    session_id: Mapped[uuid.UUID | None]
    action: Mapped[str]
    category: Mapped[str] = mapped_column(server_default="other")
    severity: Mapped[str] = mapped_column(server_default="low")
    status: Mapped[str] = mapped_column(server_default="success")
    resource_type: Mapped[str | None]
    resource_id: Mapped[str | None]
    ip: Mapped[IpAddress | None]
    country: Mapped[Country | None]
    user_agent: Mapped[str | None]
    metadata_: Mapped[Json] = mapped_column("metadata", server_default=text("'{}'"))
    """The column `metadata`. SQLAlchemy reserves this name."""
    changes: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    compliance_tags: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    legal_hold: Mapped[Off]
    anonymized_at: Mapped[Timestamp | None]
    archive_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{NIGHTSHIFT_SCHEMA}.audit_archives.id", ondelete="SET NULL")
    )


class AuditArchive(Base):
    """One file of archived audit rows: a part of a month."""

    __tablename__ = "audit_archives"
    __table_args__ = (UniqueConstraint("month", "part"), IN_NIGHTSHIFT)

    id: Mapped[UuidKey]
    month: Mapped[dt.date]
    """The first day of the month, in UTC."""
    part: Mapped[int] = mapped_column(server_default=text("1"))
    s3_key: Mapped[str] = mapped_column(unique=True)
    row_count: Mapped[int]
    sha256: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    verified_at: Mapped[Timestamp | None]
    created_at: Mapped[CreatedNow]
