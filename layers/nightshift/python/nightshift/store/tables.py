"""The tables of backups and data keys, in the schema `nightshift`."""

from sqlalchemy import BigInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from nightshift.database import IN_NIGHTSHIFT, Base, CreatedNow, Json, Timestamp, UuidKey, one_of


class DataKey(Base):
    """A data key, encrypted by AWS KMS. It is no secret: only those who may ask KMS to decrypt it can use it."""

    __tablename__ = "data_keys"
    __table_args__ = IN_NIGHTSHIFT

    key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Counted from 1. The highest seals. All stay, because each opens what it sealed."""
    encrypted_key: Mapped[bytes]
    created_at: Mapped[CreatedNow]
    kms_key: Mapped[str | None]
    """The ARN of the KMS key that encrypted it. None for one that was made before this was written down."""


class Backup(Base):
    """A snapshot or a logical backup, from its start to its expiry."""

    __tablename__ = "backups"
    __table_args__ = (
        one_of("kind", "snapshot", "logical"),
        one_of("tier", "daily", "weekly", "monthly"),
        one_of("status", "running", "succeeded", "failed", "expired"),
        UniqueConstraint("kind", "scheduled_for"),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    kind: Mapped[str]
    tier: Mapped[str]
    scheduled_for: Mapped[Timestamp]
    status: Mapped[str]
    location: Mapped[str | None]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str | None]
    manifest: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    expires_at: Mapped[Timestamp]
    verified_at: Mapped[Timestamp | None]
    restore_tested_at: Mapped[Timestamp | None]
    error: Mapped[str | None]
    started_at: Mapped[Timestamp]
    finished_at: Mapped[Timestamp | None]
