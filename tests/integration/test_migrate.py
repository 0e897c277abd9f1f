"""The function that every deployment runs before any rule."""

import datetime as dt
import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from sqlalchemy import Engine, NullPool, create_engine, inspect, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from functions.platform.migrate import handler
from nightshift.database.migrations import upgrade
from nightshift.declaration import Deployment, registry
from nightshift.errors import SettingError
from nightshift.ledger import ForeignDatabaseError, own
from nightshift.operations import QUERIES, READS, answer
from nightshift.store import DataKey, DataKeys, KeyService


class Context:
    """Lambda's context with all the time in the world."""

    aws_request_id = "request"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:nightshift-migrate"

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


@pytest.mark.usefixtures("aws")
def test_a_data_key_is_opened_with_its_own_context_only(deployed: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    service = KeyService(boto3.client("kms").create_key()["KeyMetadata"]["Arn"])
    monkeypatch.setenv("NIGHTSHIFT_KMS_KEY", service.kms_key)
    migrate()
    with Session(deployed) as session:
        encrypted = session.scalars(select(DataKey.encrypted_key)).one()

    assert len(service.decrypt(1, encrypted, service.kms_key)) == 32
    # Under another number, for another purpose, or without one, KMS opens nothing.
    with pytest.raises(ClientError, match="InvalidCiphertext"):
        service.decrypt(2, encrypted, service.kms_key)
    for context in ({}, {"purpose": "1"}):
        with pytest.raises(ClientError, match="InvalidCiphertext"):
            boto3.client("kms").decrypt(CiphertextBlob=encrypted, EncryptionContext=context)


@pytest.mark.usefixtures("aws")
def test_sealed_columns_outlive_the_pack_and_the_deployment(
    deployed: Engine, empty_database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole circle: a pack is dropped and added again; everything is destroyed, deployed anew and restored."""
    kms = boto3.client("kms")
    first, second = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))

    def opened(keys: str) -> bytes:
        with Session(deployed) as session:
            return DataKeys.stored(session, KeyService(keys))[1]

    # GIVEN columns that were sealed with a data key
    monkeypatch.setenv("NIGHTSHIFT_KMS_KEY", first)
    migrate()
    sealed_with = opened(first)

    # WHEN the pack that needs it is dropped and added again THEN its data key is the same
    monkeypatch.delenv("NIGHTSHIFT_KMS_KEY")
    migrate()
    monkeypatch.setenv("NIGHTSHIFT_KMS_KEY", first)
    migrate()
    assert opened(first) == sealed_with

    # WHEN the deployment is destroyed, and another one made on the restored database, with a key of its own
    monkeypatch.setenv("NIGHTSHIFT_KMS_KEY", second)
    # THEN the deployment is refused, and says which key is missing
    with pytest.raises(SettingError, match=f"data key 1 was encrypted under {first}.*kms_key_arn"):
        migrate()
    with pytest.raises(SettingError, match="kms_key_arn"):
        opened(second)

    # WHEN that key is given THEN what was sealed is opened, and stays so
    both = f"{first} {second}"
    monkeypatch.setenv("NIGHTSHIFT_KMS_KEY", both)
    migrate()
    assert opened(both) == sealed_with

    # WHEN a key of one's own is given to a deployment that has sealed with another THEN a new data key comes beside it
    monkeypatch.setenv("NIGHTSHIFT_KMS_KEY", f"{second} {first}")
    migrate()
    migrate()
    with Session(deployed) as session:
        assert session.execute(select(DataKey.key_id, DataKey.kms_key).order_by(DataKey.key_id)).all() == [
            (1, first),
            (2, second),
        ]
    assert opened(f"{second} {first}") == sealed_with


@pytest.mark.usefixtures("aws")
def test_a_data_key_from_before_its_kms_key_was_noted_is_opened(
    deployed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    monkeypatch.setenv("NIGHTSHIFT_KMS_KEY", key)
    migrate()
    with Session(deployed) as session:
        session.execute(update(DataKey).values(kms_key=None))
        session.commit()

    migrate()

    with Session(deployed) as session:
        keys = DataKeys.stored(session, KeyService(key))
        assert (keys.current, len(keys[1])) == (1, 32)


def test_a_deployment_that_is_rolled_back_meets_a_newer_schema_and_succeeds(
    deployed: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    migrate()
    with deployed.begin() as connection:
        connection.execute(
            text(
                "update nightshift.alembic_version set version_num = 'nightshift_9999' where version_num ~ 'nightshift'"
            )
        )

    result = migrate()

    assert (result["applied"], result["ahead"]) == ([], ["nightshift_9999"])
    assert "database.ahead" in caplog.messages


def test_no_data_key_is_made_where_no_job_needs_one(deployed: Engine) -> None:
    migrate()

    with Session(deployed) as session:
        assert session.scalars(select(DataKey)).all() == []


def told(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("select deployment from nightshift.deployments order by id")))


def test_a_database_knows_its_deployment_and_refuses_another_in_words(
    deployed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a database that serves the deployment without a name
    migrate()
    migrate()
    mine = "123456789012/eu-central-1/nightshift"
    assert told(deployed) == [mine]

    # WHEN staging is deployed on it by mistake THEN its migration is refused, with the remedy, and changes nothing
    monkeypatch.setenv("NIGHTSHIFT_NAME", "staging")
    monkeypatch.setenv("NIGHTSHIFT_DEPLOYMENT", json.dumps({"packs": ["back_office"]}))
    before = registered(deployed)
    with pytest.raises(ForeignDatabaseError) as refused:
        migrate()
    for words in ("the deployment nightshift of the account 123456789012 in eu-central-1", "a database of its own"):
        assert words in str(refused.value)
    assert f'nightshift.take_over_from to "{mine}"' in str(refused.value)
    assert (told(deployed), registered(deployed)) == ([mine], before)

    # WHEN it takes over on purpose THEN the database is staging's, and the setting may stay
    monkeypatch.setenv("NIGHTSHIFT_TAKE_OVER_FROM", mine)
    migrate()
    migrate()
    assert told(deployed) == [mine, "123456789012/eu-central-1/staging"]
    monkeypatch.delenv("NIGHTSHIFT_NAME")
    monkeypatch.delenv("NIGHTSHIFT_TAKE_OVER_FROM")
    with pytest.raises(ForeignDatabaseError, match="the deployment staging"):
        migrate()


@pytest.mark.parametrize("other", ["123456789012/us-east-1/nightshift", "210987654321/eu-central-1/nightshift"])
def test_another_region_or_account_is_another_deployment(deployed: Engine, other: str) -> None:
    migrate()
    with Session(deployed) as session, session.begin(), pytest.raises(ForeignDatabaseError):
        own(session, other)


def test_a_trial_on_the_local_aws_gives_way_and_takes_nothing(deployed: Engine) -> None:
    with Session(deployed) as session, session.begin():
        upgrade(session.connection())
        own(session, "000000000000/us-east-1/nightshift")
    migrate()
    with Session(deployed) as session, session.begin(), pytest.raises(ForeignDatabaseError):
        own(session, "000000000000/us-east-1/nightshift")


def test_the_consoles_user_reads_what_answers_come_from_and_nothing_else(
    deployed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a user of the console's own, whom the database does not have yet
    monkeypatch.setenv("NIGHTSHIFT_CONSOLE_USER", "night_reader")
    with pytest.raises(SettingError, match="create role night_reader login"):
        migrate()
    with deployed.begin() as connection:
        connection.execute(text("create role night_reader login"))

    # WHEN it is there and the deployment has migrated
    migrate()

    # THEN it answers every question, and can neither write nor read anything else
    reader = create_engine(deployed.url.set(username="night_reader"), poolclass=NullPool)
    questions = {name: {"limit": 5} if "limit" in keys else {} for name, (_, keys) in QUERIES.items()}
    with Session(reader) as session:
        for name, keys in questions.items():
            answered = answer(session, Deployment(("market",)), {"query": name, **keys}, now=dt.datetime.now(dt.UTC))
            assert "does not answer" not in str(answered.get("error")), (name, answered)
            assert "'unread'" not in str(answered), (name, answered)
    with reader.connect() as connection:
        may = text(
            "select c.relname, p from pg_class c, unnest(array['select', 'insert', 'update', 'delete']) p"
            " where c.relnamespace = 'nightshift'::regnamespace and c.relkind in ('r', 'v')"
            " and has_table_privilege(c.oid, p)"
        )
        assert set(connection.execute(may).all()) == {(name, "select") for name in READS}
    reader.dispose()
    with deployed.begin() as connection:
        connection.execute(text("drop owned by night_reader"))
        connection.execute(text("drop role night_reader"))
