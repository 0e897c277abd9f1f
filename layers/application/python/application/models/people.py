"""Users and their organizations: what most other tables refer to."""

import uuid
from typing import Annotated

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base, Country
from nightshift.database import CreatedNow, Off, On, Timestamp, UuidKey, one_of

OwnerId = Annotated[uuid.UUID, mapped_column(ForeignKey("users.id", ondelete="CASCADE"))]
"""The user to whom the row belongs. It is deleted with the user."""

FormerUserId = Annotated[uuid.UUID, mapped_column(ForeignKey("users.id", ondelete="SET NULL"))]
"""A user without whom the row can stay. The column becomes null when the user is deleted."""

OrganizationId = Annotated[uuid.UUID, mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))]


class Organization(Base):
    """A tenant: the party that subscribes."""

    __tablename__ = "organizations"
    __table_args__ = (one_of("status", "pending", "trial", "active", "suspended", "expired", "cancelled"),)

    id: Mapped[UuidKey]
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(server_default="trial")
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    suspended_at: Mapped[Timestamp | None]
    cancelled_at: Mapped[Timestamp | None]
    created_at: Mapped[CreatedNow]
    updated_at: Mapped[CreatedNow]


class User(Base):
    """A person with an account. Administrators are users with a role."""

    __tablename__ = "users"
    __table_args__ = (
        one_of("role", "user", "viewer", "analyst", "support", "admin", "super_admin"),
        Index("users_email_uq", text("lower(email)"), unique=True),
        Index("users_last_login", "last_login_at", postgresql_where=text("deleted_at is null")),
        Index("users_created", "created_at"),
        Index("users_timezone", "timezone", "id"),
        Index(
            "users_avatar",
            text("nightshift.storage_key(avatar_url)"),
            postgresql_where=text("avatar_url is not null"),
        ),
    )

    id: Mapped[UuidKey]
    org_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("organizations.id", ondelete="SET NULL"))
    email: Mapped[str]
    name: Mapped[str | None]
    bio: Mapped[str | None]
    avatar_url: Mapped[str | None]
    role: Mapped[str] = mapped_column(server_default="user")
    is_active: Mapped[On]
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    """An IANA name. It is not checked: a name that PostgreSQL does not know counts as UTC."""
    locale: Mapped[str] = mapped_column(server_default="en")
    password_hash: Mapped[str | None]
    password_changed_at: Mapped[Timestamp | None]
    email_verified_at: Mapped[Timestamp | None]
    mfa_enabled: Mapped[Off]
    locked_until: Mapped[Timestamp | None]
    locked_reason: Mapped[str | None]
    last_login_at: Mapped[Timestamp | None]
    last_activity_at: Mapped[Timestamp | None]
    last_known_country: Mapped[Country | None]
    karma: Mapped[int] = mapped_column(server_default=text("0"))
    show_email_on_profile: Mapped[Off]
    include_in_search: Mapped[On]
    show_activity_publicly: Mapped[On]
    deletion_requested_at: Mapped[Timestamp | None]
    anonymized_at: Mapped[Timestamp | None]
    deleted_at: Mapped[Timestamp | None]
    created_at: Mapped[CreatedNow]
    updated_at: Mapped[CreatedNow]
