"""The key that makes pseudonyms."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base
from nightshift.database import IN_NIGHTSHIFT


class PseudonymKey(Base):
    """The only key of the SQL function `nightshift.pseudonym`, which replaces addresses in alerts."""

    __tablename__ = "pseudonym_keys"
    __table_args__ = (CheckConstraint("id = 1", name="id"), IN_NIGHTSHIFT)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    inner_key: Mapped[bytes]
    outer_key: Mapped[bytes]
