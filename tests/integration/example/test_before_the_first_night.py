"""The example on its own tables: a check has nothing against any job, and a proposal knows what the jobs do already."""

import datetime as dt
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cli.checking import check_in
from local.example import dataset
from nightshift.catalogue.proposals import suggest
from nightshift.database.transaction import transaction
from nightshift.declaration import cleaned, registry
from tests.conftest import NewDatabase

NOW = dt.datetime(2026, 11, 18, 14, 40, tzinfo=dt.UTC)

AGEING = {"analytics_cache", "auth_tokens", "feature_events", "login_attempts", "sessions"}
LEGAL = {"audit_logs", "consent_records", "subscription_events"}
NEVER = {"users", "organizations", "projects", "payment_records", "subscriptions", "licenses", "reports", "alerts"}


@pytest.fixture(scope="module")
def loaded(new_database: NewDatabase, migrated: str) -> Iterator[Engine]:
    """The demonstration's database, small."""
    with new_database(template=migrated) as engine:
        dataset.load(engine, now=NOW, users=400)
        with engine.begin() as connection:
            connection.exec_driver_sql("analyze")
        yield engine
        engine.dispose()


def test_every_job_finds_what_it_needs(loaded: Engine) -> None:
    jobs = [each.job for each in registry().values()]

    told = check_in(loaded.url.set(drivername="postgresql").render_as_string(hide_password=False), jobs)

    assert len(told["jobs"]) == len(jobs) == 38
    assert [each for each in told["findings"] if each["severity"] != "note"] == []
    notes = {(each["job"], each["object"]) for each in told["findings"]}
    assert ("finalize-deletions", "certificates") in notes, "its keys to users have no index: small, and told"


def test_what_the_jobs_clean_up_would_be_proposed_without_them(loaded: Engine) -> None:
    with Session(loaded) as session, transaction(session, read_only=True):
        bare = suggest(session, (), now=NOW)
        beside = suggest(session, cleaned(each.job for each in registry().values()), now=NOW)

    assert {each.facts.name for each in bare.proposals} == AGEING
    assert {each.table for each in bare.aside if each.reason == "legal"} == LEGAL
    assert not {each.facts.name for each in bare.proposals} & NEVER
    assert {each.facts.name for each in beside.proposals} == set()
