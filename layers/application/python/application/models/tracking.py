"""Yearly wealth snapshots, payments on them, and figures derived from both. Columns `*_enc` hold ciphertext."""

import datetime as dt
import uuid
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base, Currency
from application.models.people import OwnerId
from nightshift.database import CreatedNow, Json, Off, Timestamp, UuidKey, one_of


class YearlySnapshot(Base):
    """A user's wealth on one day of a Hijri year."""

    __tablename__ = "yearly_snapshots"
    __table_args__ = (
        one_of("status", "DRAFT", "FINALIZED", "UNLOCKED"),
        CheckConstraint("hijri_year between 1343 and 1500", name="hijri_year"),
        CheckConstraint("hijri_month between 1 and 12", name="hijri_month"),
        CheckConstraint("hijri_day between 1 and 30", name="hijri_day"),
        one_of("nisab_type", "gold", "silver"),
        Index(
            "ys_latest",
            "user_id",
            text("hijri_year desc"),
            text("hijri_month desc"),
            text("hijri_day desc"),
            postgresql_where=text("status = 'FINALIZED'"),
        ),
        Index(
            "ys_activity",
            text("greatest(updated_at, payments_changed_at)"),
            postgresql_where=text("status = 'FINALIZED'"),
        ),
        Index("ys_primary", "user_id", "gregorian_year", unique=True, postgresql_where=text("is_primary")),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    status: Mapped[str]
    is_primary: Mapped[Off]
    calculation_date: Mapped[Timestamp]
    gregorian_year: Mapped[int]
    hijri_year: Mapped[int]
    hijri_month: Mapped[int]
    hijri_day: Mapped[int]
    currency: Mapped[Currency] = mapped_column(server_default="USD")
    total_wealth_enc: Mapped[str]
    zakat_amount_enc: Mapped[str]
    nisab_threshold_enc: Mapped[str]
    nisab_type: Mapped[str]
    asset_breakdown_enc: Mapped[str]
    methodology: Mapped[str]
    hawl_completion_date: Mapped[dt.date | None]
    finalized_at: Mapped[Timestamp | None]
    payments_changed_at: Mapped[Timestamp | None]
    """Set by a trigger on payment_records, with the database's clock."""
    created_at: Mapped[CreatedNow]
    updated_at: Mapped[CreatedNow]


class PaymentRecord(Base):
    """A payment towards what is due for a snapshot."""

    __tablename__ = "payment_records"
    __table_args__ = (
        one_of(
            "recipient_category",
            *("fakir", "miskin", "amil", "muallaf", "riqab", "gharimin", "fisabilillah", "ibnus_sabil"),
        ),
        one_of("status", "recorded", "verified"),
        CheckConstraint("exchange_rate > 0", name="exchange_rate"),
        Index("pr_snapshot", "snapshot_id"),
        Index("pr_user", "user_id"),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    snapshot_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("yearly_snapshots.id", ondelete="CASCADE"))
    amount_enc: Mapped[str]
    recipient_name_enc: Mapped[str]
    notes_enc: Mapped[str | None]
    receipt_ref_enc: Mapped[str | None]
    recipient_type: Mapped[str]
    recipient_category: Mapped[str]
    payment_date: Mapped[Timestamp]
    payment_method: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="recorded")
    currency: Mapped[Currency]
    exchange_rate: Mapped[Decimal] = mapped_column(Numeric(18, 8), server_default=text("1"))
    """The exchange rate into the snapshot's currency."""
    created_at: Mapped[CreatedNow]
    updated_at: Mapped[CreatedNow]


class CachedMetric(Base):
    """A computed figure. It can be computed again."""

    __tablename__ = "analytics_cache"
    __table_args__ = (
        Index("ac_exp", "expires_at"),
        Index("ac_calc", "calculated_at"),
        Index("ac_user", "user_id"),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    metric_type: Mapped[str]
    start_date: Mapped[dt.date]
    end_date: Mapped[dt.date]
    value_enc: Mapped[str]
    parameters: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    calculated_at: Mapped[CreatedNow]
    expires_at: Mapped[Timestamp]
    version: Mapped[int] = mapped_column(server_default=text("1"))


class AnnualSummary(Base):
    """What was due, what was paid and what is left, for one snapshot."""

    __tablename__ = "annual_summaries"
    __table_args__ = (
        CheckConstraint("completion_bp between 0 and 10000", name="completion_bp"),
        one_of("payment_status", "not_due", "unpaid", "partial", "paid", "overpaid", "unknown"),
        Index("annual_summaries_user", "user_id"),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    snapshot_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("yearly_snapshots.id", ondelete="CASCADE"), unique=True)
    gregorian_year: Mapped[int]
    hijri_year: Mapped[int]
    number_of_payments: Mapped[int]
    first_payment_at: Mapped[Timestamp | None]
    last_payment_at: Mapped[Timestamp | None]
    counts_by_type: Mapped[Json]
    counts_by_category: Mapped[Json]
    completion_bp: Mapped[int | None]
    """Hundredths of a percent."""
    payment_status: Mapped[str]
    due_enc: Mapped[str | None]
    paid_enc: Mapped[str | None]
    outstanding_enc: Mapped[str | None]
    recipient_summary_enc: Mapped[str | None]
    comparison_enc: Mapped[str | None]
    methodology: Mapped[str]
    undecryptable: Mapped[int] = mapped_column(server_default=text("0"))
    """How many payments have an amount that could not be read."""
    source_activity_at: Mapped[Timestamp]
    content_hash: Mapped[str]
    version: Mapped[int] = mapped_column(server_default=text("1"))
    generated_at: Mapped[CreatedNow]


class ReminderEvent(Base):
    """A reminder that the application shows to its user."""

    __tablename__ = "reminder_events"
    __table_args__ = (
        one_of(
            "event_type",
            "zakat_anniversary_approaching",
            "calculation_overdue",
            "payment_incomplete",
            "yearly_comparison_available",
            "data_backup_reminder",
            "methodology_review",
        ),
        one_of("priority", "high", "medium", "low"),
        one_of("status", "pending", "shown", "acknowledged", "dismissed"),
        Index("re_recent", "user_id", "event_type", text("created_at desc")),
    )

    id: Mapped[UuidKey]
    user_id: Mapped[OwnerId]
    event_type: Mapped[str]
    trigger_at: Mapped[Timestamp]
    due_on: Mapped[dt.date | None]
    title: Mapped[str]
    message: Mapped[str]
    priority: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    related_snapshot_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("yearly_snapshots.id", ondelete="SET NULL")
    )
    metadata_: Mapped[Json] = mapped_column("metadata", server_default=text("'{}'"))
    """The column `metadata`. SQLAlchemy reserves this name."""
    dedupe_key: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[CreatedNow]
