"""What the shop writes down of what jobs have done."""

import uuid

from sqlalchemy.orm import Mapped, mapped_column

from nightshift.database.base import Timestamp
from tests.ground.functions.market._tables import Base


class TrailLine(Base):
    """One line a run that has changed something."""

    __tablename__ = "trail"

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    job: Mapped[str]


class JobFailure(Base):
    """A critical job that has failed for good."""

    __tablename__ = "job_failures"

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    job: Mapped[str]
    reason: Mapped[str]
    at: Mapped[Timestamp]
