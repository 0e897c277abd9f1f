"""The keys that sealed columns are encrypted with, themselves encrypted."""

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
