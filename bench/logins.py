"""A table of the benchmarks' own with five indexes, and the job that keeps it short."""

import datetime as dt

from sqlalchemy import BigInteger, DateTime, Dialect, Engine, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import INET, UUID, dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from nightshift import Delete, Job, Parameter, lambda_handler

RETENTION = Parameter("retention_days", 7, "days", minimum=1)


class Base(DeclarativeBase):
    """Its own metadata, which no migration knows."""


class Login(Base):
    """One try to sign in."""

    __tablename__ = "logins"
    __table_args__ = (
        Index("logins_at", "attempted_at"),
        Index("logins_ip", "ip", "attempted_at", postgresql_where=text("not success")),
        Index("logins_user", "user_id", postgresql_where=text("user_id is not null")),
        Index("logins_email", text("lower(email)")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[str | None] = mapped_column(UUID)
    email: Mapped[str | None] = mapped_column(Text)
    success: Mapped[bool]
    failure_reason: Mapped[str | None] = mapped_column(Text)
    ip: Mapped[str | None] = mapped_column(INET)
    user_agent: Mapped[str | None] = mapped_column(Text)
    attempted_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))


def make(engine: Engine) -> None:
    """Make the table."""
    Base.metadata.create_all(engine)


_table = Login.__table__
assert isinstance(_table, Table)
_dialect: Dialect = dialect()  # type: ignore[no-untyped-call]
WITHOUT_INDEXES = (str(CreateTable(_table).compile(dialect=_dialect)),)
INDEXES = tuple(str(CreateIndex(index).compile(dialect=_dialect)) for index in sorted(_table.indexes, key=str))
"""The same in two parts: a table is filled faster before it has indexes."""


job = Job(
    name="login-cleanup",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Delete(Login, older_than=RETENTION, measured_by=Login.attempted_at),),
    audited=False,
)
handler = lambda_handler(job)
