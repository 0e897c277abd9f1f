"""Customers of the shop, and what they were told."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from nightshift.outbox import Notification
from tests.ground.functions.market._tables import Customer


def utc(text: str) -> dt.datetime:
    """An instant, written like `2026-03-01 09:00`."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def customer(session: Session, name: str, **more: Any) -> uuid.UUID:
    """A customer, committed, with an address made of the name."""
    found = Customer(**{"email": f"{name}@example.org", "name": name, "created_at": utc("2025-01-01"), **more})
    session.add(found)
    session.commit()
    return found.id


def told(session: Session) -> list[tuple[str, str, str]]:
    """Everything in the outbox that is for a customer: name, kind, channel; sorted."""
    rows = select(Customer.name, Notification.kind, Notification.channel).join(
        Customer, cast(Customer.id, Text) == Notification.recipient
    )
    return sorted((name, kind, channel) for name, kind, channel in session.execute(rows))


def outbox(session: Session) -> list[Notification]:
    session.rollback()
    return list(session.scalars(select(Notification).order_by(Notification.dedupe_key)))
