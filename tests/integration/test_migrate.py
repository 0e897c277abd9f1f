"""The function that every deployment runs before any rule."""

import json
from typing import Any

import boto3
import pytest
from sqlalchemy import Engine, NullPool, create_engine, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from functions.platform.migrate import handler
from nightshift.declaration import registry
from nightshift.store import DataKey, DataKeys, KeyService


class Context:
    """Lambda's context with all the time in the world."""

    aws_request_id = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def migrate(event: Any = None) -> dict[str, Any]:
    return handler(event, Context())


def address(engine: Engine, user: str = "postgres") -> str:
    return json.dumps({"url": engine.url.set(username=user).render_as_string(hide_password=False)})


@pytest.fixture
def deployed(empty_database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("NIGHTSHIFT_DATABASE", address(empty_database))
    monkeypatch.setenv("NIGHTSHIFT_APPLICATION_TABLES", "existing")
    monkeypatch.setenv("NIGHTSHIFT_DEPLOYMENT", json.dumps({"packs": ["market"]}))
    return empty_database


def registered(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(text("select name from nightshift.jobs")))


def test_first_deployment_makes_the_ledger_and_registers_the_jobs(deployed: Engine) -> None:
    jobs = {name for name, registration in registry().items() if registration.pack == "market"}

    result = migrate({"RequestType": "Create", "whatever": ["CloudFormation", "sends"]})

    assert result["applied"]
    assert result["jobs"] == len(jobs)
    assert registered(deployed) == jobs
    assert inspect(deployed).get_table_names("public") == []


def test_later_deployment_adds_only_what_is_new(deployed: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate()
    with deployed.begin() as connection:
        connection.execute(text("update nightshift.jobs set paused_by = 'ann'"))
    monkeypatch.setenv("NIGHTSHIFT_DEPLOYMENT", json.dumps({"packs": ["market", "back_office"]}))

    result = migrate()

    assert result["applied"] == []
    assert len(registered(deployed)) == result["jobs"]
    with deployed.connect() as connection:  # what operators have paused stays paused
        paused = connection.scalar(text("select count(*) from nightshift.jobs where paused_by = 'ann'"))
    assert paused == sum(registration.pack == "market" for registration in registry().values())


def test_application_tables_are_made_when_asked_for(deployed: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_APPLICATION_TABLES", "create")

    migrate()

    assert "customers" in inspect(deployed).get_table_names("public")


def test_failure_is_raised_so_that_the_deployment_is_rolled_back(deployed: Engine) -> None:
    with deployed.begin() as connection:
        connection.execute(text("create schema nightshift"))
        connection.execute(text("create table nightshift.runs (id int)"))

    with pytest.raises(DBAPIError, match="already exists"):
        migrate()

    assert inspect(deployed).get_table_names("nightshift") == ["runs"]


def test_new_database_gets_a_user_who_owns_what_is_made(deployed: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a new database, of which only the owner is known, on a server like RDS
    with deployed.begin() as connection:
        connection.execute(text("create role rds_iam"))
    user = f"{deployed.url.database}_functions"
    monkeypatch.setenv("NIGHTSHIFT_DATABASE", address(deployed, user))
    monkeypatch.setenv("NIGHTSHIFT_DATABASE_OWNER", address(deployed))
    monkeypatch.setenv("NIGHTSHIFT_APPLICATION_TABLES", "create")

    # WHEN it is deployed, twice
    migrate()
    migrate()

    # THEN the functions' user can log in with IAM tokens and has all tables
    with create_engine(deployed.url.set(username=user), poolclass=NullPool).connect() as connection:
        assert connection.scalar(text("select pg_has_role(current_user, 'rds_iam', 'member')"))
        owners = connection.scalars(
            text("select distinct tableowner from pg_tables where schemaname in ('nightshift', 'public')")
        )
        assert set(owners) == {user}


@pytest.mark.usefixtures("aws")
def test_first_data_key_is_made_once(deployed: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIVEN a key of KMS WHEN deployed twice THEN there is one data key, which that key opens."""
    service = KeyService(boto3.client("kms").create_key()["KeyMetadata"]["Arn"])
    monkeypatch.setenv("NIGHTSHIFT_KMS_KEY", service.kms_key)

    migrate()
    migrate()

    with Session(deployed) as session:
        assert session.scalars(select(DataKey.key_id)).all() == [1]
        keys = DataKeys.stored(session, service)
    assert (keys.current, len(keys[1])) == (1, 32)


def test_no_data_key_is_made_where_no_job_needs_one(deployed: Engine) -> None:
    migrate()

    with Session(deployed) as session:
        assert session.scalars(select(DataKey)).all() == []
