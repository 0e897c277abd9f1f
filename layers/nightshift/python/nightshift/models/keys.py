"""The keys that sealed columns are encrypted with, themselves encrypted, and the one that makes pseudonyms."""

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from nightshift.models.base import IN_NIGHTSHIFT, Base, CreatedNow


class DataKey(Base):
    """A data key as AWS KMS encrypted it. Of no use to whoever may not ask KMS to decrypt it, so it is no secret."""

    __tablename__ = "data_keys"
    __table_args__ = IN_NIGHTSHIFT

    key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Counted from 1. The highest seals; all stay, to open what they have sealed."""
    encrypted_key: Mapped[bytes]
    created_at: Mapped[CreatedNow]


class PseudonymKey(Base):
    """The one key of the SQL function `nightshift.pseudonym`, which stands for addresses in alerts."""

    __tablename__ = "pseudonym_keys"
    __table_args__ = (CheckConstraint("id = 1", name="id"), IN_NIGHTSHIFT)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    inner_key: Mapped[bytes]
    outer_key: Mapped[bytes]
