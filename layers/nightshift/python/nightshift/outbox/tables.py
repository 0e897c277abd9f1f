"""The outbox's table, in the schema `nightshift`."""

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from nightshift.database import IN_NIGHTSHIFT, Base, CreatedNow, Json, Timestamp, UuidKey, one_of


class Notification(Base):
    """One message to one recipient by one channel, sent at most once.

    `sending`: claimed. `unknown`: its sender died before it got an answer; it is not sent again.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        one_of("channel", "in_app", "email", "push", "ops"),
        one_of("status", "pending", "sending", "sent", "unknown", "failed", "suppressed"),
        Index("notif_outbox", "channel", "scheduled_for", postgresql_where=text("status = 'pending'")),
        Index("notif_sending", "claimed_at", postgresql_where=text("status = 'sending'")),
        Index("notif_sent", "sent_at", postgresql_where=text("status = 'sent'")),
        Index("notif_recipient", "recipient", text("created_at desc")),
        Index("notif_created", "created_at"),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    recipient: Mapped[str | None]
    """The key of one of the project's people, as text; None for a message to the operators."""
    channel: Mapped[str]
    kind: Mapped[str]
    title: Mapped[str]
    body: Mapped[str]
    data: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    dedupe_key: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(server_default="pending")
    scheduled_for: Mapped[Timestamp]
    created_at: Mapped[CreatedNow]
    sent_at: Mapped[Timestamp | None]
    read_at: Mapped[Timestamp | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    claimed_at: Mapped[Timestamp | None]
    error: Mapped[str | None]
    """Why it was not sent, or not at once. It quotes neither address nor text."""
