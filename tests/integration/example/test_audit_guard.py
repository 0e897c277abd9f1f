"""The audit log only grows: a guard against mistakes, and the grant that holds against everything else."""

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, Executable, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from application.models import ApiKey, AuditArchive, AuditLog, User

ROLE = "application_of_the_guard_tests"


@pytest.fixture
def audited(database: Engine) -> Engine:
    """A database with one audit row that names a user, a key and an archive."""
    with database.begin() as connection:
        user = connection.scalar(insert(User).values(email="ann@example.org").returning(User.id))
        key = connection.scalar(insert(ApiKey).values(name="key", key_prefix="k", key_hash=b"k").returning(ApiKey.id))
        archive = connection.scalar(
            insert(AuditArchive)
            .values(month="2026-01-01", s3_key="a", row_count=1, sha256="", bytes=0)
            .returning(AuditArchive.id)
        )
        connection.execute(
            insert(AuditLog).values(action="auth.login", actor_id=user, api_key_id=key, archive_id=archive)
        )
    return database


@pytest.fixture
def application(audited: Engine) -> Iterator[Connection]:
    """A connection as a role that has what an application should have: INSERT and SELECT on the audit log."""
    with audited.connect() as connection:
        connection.exec_driver_sql(
            f"create role {ROLE};grant select, insert on audit_logs to {ROLE};grant select, delete on users to {ROLE}"
        )
        connection.exec_driver_sql(f"set role {ROLE}")
        yield connection
        connection.rollback()  # roles belong to the whole server: this one never gets out of its transaction


CHANGES: list[Executable] = [update(AuditLog).values(action="forged"), delete(AuditLog), text("truncate audit_logs")]


@pytest.mark.parametrize("change", CHANGES, ids=["update", "delete", "truncate"])
def test_a_change_is_refused_with_a_hint(audited: Engine, change: Executable) -> None:
    with audited.connect() as connection, pytest.raises(DBAPIError, match="append-only") as refusal:
        connection.execute(change)

    assert "nightshift.run_id" in str(refusal.value)


@pytest.mark.parametrize("change", CHANGES, ids=["update", "delete", "truncate"])
def test_a_transaction_that_names_its_run_may_change_it(audited: Engine, change: Executable) -> None:
    with audited.begin() as connection:
        connection.execute(select(func.set_config("nightshift.run_id", str(uuid.uuid4()), True)))
        connection.execute(change)

    with audited.connect() as connection:
        assert connection.scalars(select(AuditLog.action)).all() in ([], ["forged"])


def test_the_permission_ends_with_its_transaction(audited: Engine) -> None:
    with audited.connect() as connection:
        with connection.begin():
            connection.execute(select(func.set_config("nightshift.run_id", str(uuid.uuid4()), True)))
        with pytest.raises(DBAPIError, match="append-only"):
            connection.execute(delete(AuditLog))


def test_rows_may_always_be_added(audited: Engine) -> None:
    with audited.begin() as connection:
        connection.execute(insert(AuditLog).values(action="user.delete"))

        assert connection.scalar(select(func.count()).select_from(AuditLog)) == 2


def test_foreign_keys_still_set_their_reference_null(audited: Engine) -> None:
    with audited.begin() as connection:
        for referenced in (User, ApiKey, AuditArchive):
            connection.execute(delete(referenced))

        assert connection.execute(select(AuditLog.actor_id, AuditLog.api_key_id, AuditLog.archive_id)).one() == (
            None,
            None,
            None,
        )


def test_the_application_adds_reads_and_deletes_its_users(application: Connection) -> None:
    application.execute(insert(AuditLog).values(action="user.delete"))
    application.execute(delete(User))

    assert application.scalars(select(AuditLog.actor_id)).all() == [None, None]


@pytest.mark.parametrize("change", CHANGES, ids=["update", "delete", "truncate"])
def test_the_application_cannot_change_it_even_by_naming_a_run(application: Connection, change: Executable) -> None:
    application.execute(select(func.set_config("nightshift.run_id", str(uuid.uuid4()), True)))

    with pytest.raises(DBAPIError, match="permission denied for table audit_logs"):
        application.execute(change)
