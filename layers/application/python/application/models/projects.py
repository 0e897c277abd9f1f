"""Projects, and the invitations to them and to the administration."""

import uuid
from typing import Annotated

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base
from application.models.people import FormerUserId
from nightshift.database import CreatedNow, Off, Timestamp, UuidKey, one_of

ProjectId = Annotated[uuid.UUID, mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))]


class Project(Base):
    """A project. Its people are its collaborators."""

    __tablename__ = "projects"
    __table_args__ = (
        Index(
            "projects_image",
            text("nightshift.storage_key(image_url)"),
            postgresql_where=text("image_url is not null"),
        ),
    )

    id: Mapped[UuidKey]
    title: Mapped[str]
    image_url: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="active")
    is_featured: Mapped[Off]
    created_at: Mapped[CreatedNow]
    updated_at: Mapped[CreatedNow]


class Invitation(Base):
    """An invitation by mail, to a project or to the administration."""

    __tablename__ = "invitations"
    __table_args__ = (
        one_of("kind", "project", "admin"),
        one_of("status", "pending", "accepted", "declined", "expired", "revoked"),
        Index("invitations_pending", "kind", "created_at", postgresql_where=text("status = 'pending'")),
        Index("invitations_pending_exp", "expires_at", postgresql_where=text("status = 'pending'")),
        Index("invitations_closed", "kind", "created_at", postgresql_where=text("status <> 'pending'")),
        Index("invitations_email", text("lower(email)")),
        Index("invitations_project", "project_id", postgresql_where=text("project_id is not null")),
        Index("invitations_by", "invited_by", postgresql_where=text("invited_by is not null")),
    )

    id: Mapped[UuidKey]
    kind: Mapped[str]
    email: Mapped[str]
    role: Mapped[str | None]
    project_id: Mapped[ProjectId | None]
    invited_by: Mapped[FormerUserId | None]
    token_hash: Mapped[bytes | None] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(server_default="pending")
    created_at: Mapped[CreatedNow]
    expires_at: Mapped[Timestamp | None]
    accepted_at: Mapped[Timestamp | None]
    declined_at: Mapped[Timestamp | None]
