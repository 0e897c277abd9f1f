"""How users sign in, what they prefer and agreed to, and what they asked for."""

import datetime as dt
import uuid

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base, Country, IpAddress
from application.models.people import FormerUserId, OrganizationId, OwnerId
from nightshift.database import CreatedNow, Json, Off, On, Timestamp, UuidKey, one_of


class UserPreferences(Base):
    """Which notices a user wants, and when not. A user without a row wants all."""

    __tablename__ = "user_preferences"

    user_id: Mapped[OwnerId] = mapped_column(primary_key=True)
    goal_reminders: Mapped[On]
    general: Mapped[On]
    weekly_report: Mapped[On]
    monthly_report: Mapped[On]
    break_reminders: Mapped[On]
    email_enabled: Mapped[On]
    push_enabled: Mapped[On]
    quiet_start: Mapped[dt.time | None]
    """In the user's time zone. Quiet hours may span midnight."""
    quiet_end: Mapped[dt.time | None]


class UserSession(Base):
    """A login session. (`Session` is SQLAlchemy's name.)"""

    __tablename__ = "sessions"
    __table_args__ = (
        one_of("status", "active", "expired", "revoked", "suspended"),
        Index("sessions_active_exp", "expires_at", postgresql_where=text("status = 'active'")),
        Index("sessions_active_act", "last_activity_at", postgresql_where=text("status = 'active'")),
        Index("sessions_term", "terminated_at", postgresql_where=text("status <> 'active'")),
        Index("sessions_user", "user_id", text("created_at desc")),
        Index("sessions_created", "created_at"),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(server_default="active")
    created_at: Mapped[CreatedNow]
    expires_at: Mapped[Timestamp]
    last_activity_at: Mapped[CreatedNow]
    ip: Mapped[IpAddress | None]
    country: Mapped[Country | None]
    device_type: Mapped[str | None]
    user_agent: Mapped[str | None]
    is_suspicious: Mapped[Off]
    suspicious_reasons: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    risk_score: Mapped[int] = mapped_column(server_default=text("0"))
    terminated_at: Mapped[Timestamp | None]
    termination_reason: Mapped[str | None]


class AuthToken(Base):
    """A token that was issued, by kind. Only its hash is stored."""

    __tablename__ = "auth_tokens"
    __table_args__ = (
        one_of("kind", "refresh", "email_verification", "password_reset", "access_denylist", "mfa_challenge"),
        UniqueConstraint("kind", "token_hash"),
        Index("auth_tokens_exp", "kind", "expires_at"),
        Index("auth_tokens_used", "kind", postgresql_where=text("used_at is not null")),
        Index("auth_tokens_user", "user_id"),
        Index("auth_tokens_repl", "replaced_by", postgresql_where=text("replaced_by is not null")),
        Index("auth_tokens_session", "session_id", postgresql_where=text("session_id is not null")),
    )

    id: Mapped[UuidKey]
    kind: Mapped[str]
    user_id: Mapped[OwnerId | None]
    session_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("sessions.id", ondelete="SET NULL"))
    token_hash: Mapped[bytes]
    issued_at: Mapped[CreatedNow]
    expires_at: Mapped[Timestamp]
    used_at: Mapped[Timestamp | None]
    revoked_at: Mapped[Timestamp | None]
    replaced_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("auth_tokens.id", ondelete="SET NULL"))


class LoginAttempt(Base):
    """One attempt to sign in. Kept for a few days; the audit log has the rest."""

    __tablename__ = "login_attempts"
    __table_args__ = (
        Index("login_attempts_at", "attempted_at"),
        Index("login_attempts_ip", "ip", "attempted_at", postgresql_where=text("not success")),
        Index("login_attempts_user", "user_id", postgresql_where=text("user_id is not null")),
        Index("login_attempts_email", text("lower(email)")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[FormerUserId | None]
    email: Mapped[str | None]
    success: Mapped[bool]
    failure_reason: Mapped[str | None]
    ip: Mapped[IpAddress | None]
    country: Mapped[Country | None]
    user_agent: Mapped[str | None]
    attempted_at: Mapped[CreatedNow]


class ApiKey(Base):
    """A key for programs, of a user or an organization. Only its hash and its visible prefix are stored."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("api_keys_exp", "expires_at", postgresql_where=text("is_active")),
        Index("api_keys_rev", "revoked_at", postgresql_where=text("not is_active")),
        Index("api_keys_user", "user_id"),
        Index("api_keys_org", "org_id"),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId | None]
    org_id: Mapped[OrganizationId | None]
    name: Mapped[str]
    key_prefix: Mapped[str]
    key_hash: Mapped[bytes] = mapped_column(unique=True)
    is_active: Mapped[On]
    expires_at: Mapped[Timestamp | None]
    last_used_at: Mapped[Timestamp | None]
    revoked_at: Mapped[Timestamp | None]
    revoke_reason: Mapped[str | None]
    created_at: Mapped[CreatedNow]


class Certificate(Base):
    """A certificate, signing key or service account that must be renewed before it expires."""

    __tablename__ = "certificates"
    __table_args__ = (one_of("kind", "tls", "signing_key", "service_account"),)

    id: Mapped[UuidKey]
    kind: Mapped[str]
    label: Mapped[str]
    owner_user_id: Mapped[FormerUserId | None]
    expires_at: Mapped[Timestamp]
    rotated_at: Mapped[Timestamp | None]


class PushToken(Base):
    """A device that receives push messages."""

    __tablename__ = "push_tokens"
    __table_args__ = (
        Index("push_tokens_idle", text("coalesce(last_used_at, created_at)")),
        Index("push_tokens_user", "user_id"),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    token: Mapped[str] = mapped_column(unique=True)
    platform: Mapped[str]
    created_at: Mapped[CreatedNow]
    last_used_at: Mapped[Timestamp | None]


class ConsentRecord(Base):
    """A consent that a user gave, or withdrew."""

    __tablename__ = "consent_records"
    __table_args__ = (Index("consent_records_user", "user_id"),)

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    consent_type: Mapped[str]
    granted: Mapped[bool]
    granted_at: Mapped[Timestamp | None]
    revoked_at: Mapped[Timestamp | None]
    ip: Mapped[IpAddress | None]
    user_agent: Mapped[str | None]


class DataRequest(Base):
    """A user's request for a copy of their data, or for its deletion."""

    __tablename__ = "data_requests"
    __table_args__ = (
        one_of("request_type", "EXPORT", "DELETION"),
        one_of("status", "PENDING", "COMPLETED", "CANCELLED", "FAILED", "BLOCKED"),
        Index(
            "data_requests_one_pending",
            "user_id",
            unique=True,
            postgresql_where=text("request_type = 'DELETION' and status = 'PENDING'"),
        ),
        Index(
            "data_requests_due",
            "requested_at",
            postgresql_where=text("request_type = 'DELETION' and status = 'PENDING'"),
        ),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[FormerUserId | None]
    subject_ref: Mapped[str]
    """A keyed hash of the user's id. It shows which requests are from the same person, and nothing else."""
    request_type: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="PENDING")
    options: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    requested_at: Mapped[CreatedNow]
    completed_at: Mapped[Timestamp | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    last_error: Mapped[str | None]
