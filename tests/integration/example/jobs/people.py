"""People for the tests of jobs that tell somebody something, and what they were told."""

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from application.models import User, UserPreferences
from nightshift.outbox import Notification


def utc(text: str) -> dt.datetime:
    """An instant, written like `2026-03-01 09:00`."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def person(session: Session, name: str, preferences: dict[str, Any] | None = None, **more: Any) -> uuid.UUID:
    """A user, committed, with an address made of the name."""
    user = User(**{"email": f"{name}@example.org", "name": name, "created_at": utc("2025-01-01"), **more})
    session.add(user)
    session.flush()
    if preferences is not None:
        session.add(UserPreferences(user_id=user.id, **preferences))
    session.commit()
    return user.id


def told(session: Session) -> list[tuple[str | None, str, str]]:
    """Everything in the outbox: recipient's name, kind, channel; sorted."""
    rows = select(User.name, Notification.kind, Notification.channel).join(
        User, cast(User.id, Text) == Notification.recipient
    )
    return sorted((name, kind, channel) for name, kind, channel in session.execute(rows))


def outbox(session: Session) -> list[Notification]:
    session.rollback()
    return list(session.scalars(select(Notification).order_by(Notification.dedupe_key)))
