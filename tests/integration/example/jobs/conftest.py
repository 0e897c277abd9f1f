"""What the tests of single jobs arrange again and again."""

import datetime as dt
import uuid

import pytest
from sqlalchemy.orm import Session

from application.models import User

NOW = dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)
"""When the runs of these tests are due."""

SECOND = dt.timedelta(seconds=1)
MICROSECOND = dt.timedelta(microseconds=1)
DAY = dt.timedelta(days=1)


@pytest.fixture
def user_id(session: Session) -> uuid.UUID:
    """A user for rows that must belong to somebody."""
    user = User(email="ann@example.org", created_at=NOW)
    session.add(user)
    session.commit()
    return user.id
