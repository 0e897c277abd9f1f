"""Subscriptions, licences, and a list of everything that will expire."""

import uuid

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base
from application.models.people import OrganizationId
from nightshift.database import CreatedNow, Json, Off, On, Timestamp, UuidKey, one_of


class Subscription(Base):
    """What an organization subscribes to, and until when it is paid."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        one_of(
            "status",
            *("incomplete", "trialing", "active", "past_due", "unpaid", "paused", "cancelled", "expired"),
        ),
        one_of("billing_cycle", "monthly", "quarterly", "annually", "custom"),
        CheckConstraint("anchor_day between 1 and 31", name="anchor_day"),
        Index("subs_period", "current_period_end", postgresql_where=text("status in ('active', 'past_due')")),
        Index("subs_trial", "trial_ends_at", postgresql_where=text("status = 'trialing'")),
    )

    id: Mapped[UuidKey]
    org_id: Mapped[OrganizationId] = mapped_column(unique=True)
    tier: Mapped[str] = mapped_column(server_default="free")
    status: Mapped[str]
    billing_cycle: Mapped[str]
    anchor_day: Mapped[int]
    """The day of the month on which periods begin. In a shorter month, its last day."""
    current_period_start: Mapped[Timestamp]
    current_period_end: Mapped[Timestamp]
    trial_ends_at: Mapped[Timestamp | None]
    auto_renew: Mapped[On]
    cancel_at_period_end: Mapped[Off]
    has_payment_method: Mapped[Off]
    past_due_since: Mapped[Timestamp | None]
    seats: Mapped[int | None]
    updated_at: Mapped[CreatedNow]


class SubscriptionEvent(Base):
    """A change of a subscription, once for each moment at which it takes effect."""

    __tablename__ = "subscription_events"
    __table_args__ = (UniqueConstraint("subscription_id", "event", "effective_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    subscription_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("subscriptions.id", ondelete="CASCADE"))
    event: Mapped[str]
    from_status: Mapped[str | None]
    to_status: Mapped[str | None]
    effective_at: Mapped[Timestamp]
    data: Mapped[Json] = mapped_column(server_default=text("'{}'"))


class License(Base):
    """A licence key of an organization. Only its hash is kept."""

    __tablename__ = "licenses"
    __table_args__ = (
        one_of("status", "inactive", "active", "suspended", "expired", "revoked"),
        Index("lic_exp", "expires_at", postgresql_where=text("status = 'active'")),
    )

    id: Mapped[UuidKey]
    org_id: Mapped[OrganizationId]
    subscription_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("subscriptions.id", ondelete="SET NULL"))
    license_key_hash: Mapped[bytes] = mapped_column(unique=True)
    status: Mapped[str]
    expires_at: Mapped[Timestamp | None]
    grace_until: Mapped[Timestamp | None]
    seats: Mapped[int | None]
    last_validated_at: Mapped[Timestamp | None]
    created_at: Mapped[CreatedNow]


expiring_credentials = Table(
    "v_expiring_credentials",
    Base.metadata,
    Column("kind", Text),
    Column("subject_id", Uuid),
    Column("owner_user_id", Uuid),
    Column("label", Text),
    Column("expires_at", DateTime(timezone=True)),
    info={"is_view": True},
)
"""A view: passwords, API keys, certificates, licences, subscriptions and trials with the instant they expire."""
