"""What people add: their parts in projects, votes, ideas and uploaded files."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from application.models.base import Base
from application.models.people import FormerUserId, OwnerId
from application.models.projects import ProjectId
from nightshift.database import CreatedNow, Timestamp, UuidKey, one_of


class Collaborator(Base):
    """A user's part in a project."""

    __tablename__ = "collaborators"
    __table_args__ = (one_of("role", "CREATOR", "CONTRIBUTOR", "ADVISOR"), Index("collaborators_user", "user_id"))

    project_id: Mapped[ProjectId] = mapped_column(primary_key=True)
    user_id: Mapped[OwnerId] = mapped_column(primary_key=True)
    role: Mapped[str]
    created_at: Mapped[CreatedNow]


class Upvote(Base):
    """A user's vote for a project."""

    __tablename__ = "upvotes"
    __table_args__ = (Index("upvotes_project", "project_id"),)

    user_id: Mapped[OwnerId] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(primary_key=True)
    created_at: Mapped[CreatedNow]


class Idea(Base):
    """An idea that is not a project yet."""

    __tablename__ = "ideas"
    __table_args__ = (Index("ideas_creator", "creator_id"),)

    id: Mapped[UuidKey]
    creator_id: Mapped[OwnerId]
    title: Mapped[str]
    description: Mapped[str | None]
    created_at: Mapped[CreatedNow]


class Upload(Base):
    """A file in the file store. The row stays until the store has confirmed that the object is deleted."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index("uploads_created", "created_at"),
        Index("uploads_uploader", "uploader_id", postgresql_where=text("uploader_id is not null")),
        Index("uploads_deleting", "deleting_at", "id", postgresql_where=text("deleting_at is not null")),
    )

    id: Mapped[UuidKey]
    storage_key: Mapped[str] = mapped_column(unique=True)
    filename: Mapped[str]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    uploader_id: Mapped[FormerUserId | None]
    created_at: Mapped[CreatedNow]
    deleting_at: Mapped[Timestamp | None]
    """Set when nothing refers to the file and its deletion has started. Then nothing new may refer to it."""


file_references = Table(
    "v_file_references",
    Base.metadata,
    Column("kind", Text),
    Column("subject_id", Uuid),
    Column("storage_key", Text),
    info={"is_view": True},
)
"""A view: every reference from the application to a file. The key is null if a URL names no upload."""
