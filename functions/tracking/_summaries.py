"""One yearly summary: what is read for it, and how it is written."""

from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Label, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from application.models import AnnualSummary, PaymentRecord, YearlySnapshot
from nightshift import Run

if TYPE_CHECKING:
    from application.sealed import Aggregator, SealedPayment

PAYMENTS_AT_ONCE = 1000  # read from the database, so that memory does not grow with their number

ACTIVITY = func.greatest(YearlySnapshot.updated_at, YearlySnapshot.payments_changed_at)


def regenerate(session: Session, run: Run, aggregator: "Aggregator", snapshot_id: UUID) -> dict[str, int]:
    """Write a snapshot's summary if its figures have changed, and count what was found."""
    from application.sealed import SealedPayment

    found = session.execute(sources(snapshot_id)).one_or_none()
    if found is None:  # deleted or unlocked since it was chosen
        return {}
    snapshot: YearlySnapshot = found.YearlySnapshot
    summary_id = found.summary_id or uuid4()
    payments = session.execute(payments_of(snapshot), execution_options={"yield_per": PAYMENTS_AT_ONCE})
    summary = aggregator.summarize(
        snapshot,
        map(_dated, map(SealedPayment._make, payments)),
        summary_id=summary_id,
        previous=found.Previous,
        previous_payments=found.previous_payments,
        known_hash=found.content_hash,
    )
    unchanged = summary.content_hash == found.content_hash
    if unchanged:
        session.execute(
            update(AnnualSummary)
            .where(AnnualSummary.id == summary_id)
            .values(source_activity_at=func.greatest(AnnualSummary.source_activity_at, found.activity))
        )
    else:
        content = asdict(summary) | {
            "gregorian_year": snapshot.gregorian_year,
            "hijri_year": snapshot.hijri_year,
            "methodology": snapshot.methodology,
            "source_activity_at": found.activity,
            "generated_at": run.now,
        }
        session.execute(
            insert(AnnualSummary)
            .values(id=summary_id, user_id=snapshot.user_id, snapshot_id=snapshot.id, **content)
            .on_conflict_do_update(
                index_elements=[AnnualSummary.snapshot_id], set_={**content, "version": AnnualSummary.version + 1}
            )
        )
    return {
        "unchanged" if unchanged else "regenerated": 1,
        "undecryptable": summary.undecryptable,
        "ownership_violations": found.foreign_payments,
    }


def _dated(payment: "SealedPayment") -> "SealedPayment":
    """
    Raises:
        ValueError: Python cannot hold the payment's date, so no summary can be made of it.
    """
    if isinstance(payment.payment_date, str):
        raise ValueError(f"the payment {payment.id} has the date {payment.payment_date}")
    return payment


def sources(snapshot_id: UUID) -> Select[Any]:
    """A finalized snapshot with the identity of its summary, and the primary snapshot of the year before."""
    previous = aliased(YearlySnapshot, name="Previous")
    return (
        select(
            YearlySnapshot,
            previous,
            ACTIVITY.label("activity"),
            AnnualSummary.id.label("summary_id"),
            AnnualSummary.content_hash,
            number_of_payments(YearlySnapshot.id, PaymentRecord.user_id != YearlySnapshot.user_id, "foreign_payments"),
            number_of_payments(previous.id, PaymentRecord.user_id == previous.user_id, "previous_payments"),
        )
        .outerjoin(AnnualSummary, AnnualSummary.snapshot_id == YearlySnapshot.id)
        .outerjoin(
            previous,
            (previous.user_id == YearlySnapshot.user_id)
            & previous.is_primary
            & (previous.gregorian_year == YearlySnapshot.gregorian_year - 1),
        )
        .where(YearlySnapshot.id == snapshot_id, YearlySnapshot.status == "FINALIZED")
    )


def number_of_payments(snapshot_id: Any, whose: ColumnElement[bool], name: str) -> Label[Any]:
    payments = select(func.count()).select_from(PaymentRecord).where(PaymentRecord.snapshot_id == snapshot_id, whose)
    return payments.scalar_subquery().label(name)


def payments_of(snapshot: YearlySnapshot) -> Select[UUID, UUID, str, str, str, str, datetime, Decimal]:
    """The owner's payments on a snapshot, in the form of `SealedPayment`."""
    return select(
        PaymentRecord.id,
        PaymentRecord.user_id,
        PaymentRecord.amount_enc,
        PaymentRecord.recipient_name_enc,
        PaymentRecord.recipient_type,
        PaymentRecord.recipient_category,
        PaymentRecord.payment_date,
        PaymentRecord.exchange_rate,
    ).where(PaymentRecord.snapshot_id == snapshot.id, PaymentRecord.user_id == snapshot.user_id)
