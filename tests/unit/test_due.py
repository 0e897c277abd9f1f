"""The rule of a job in a time zone fires too often: what is not due is dropped before anything connects."""

import json
from dataclasses import replace
from typing import Any

import pytest

from nightshift import Job, SettingError, telemetry
from nightshift.environment import DATABASE_VARIABLE, SCHEDULE_VARIABLE
from nightshift.runtime import invoke
from tests.unit.test_events import SCHEDULED, job

BERLIN = {"schedule": "cron(0 2 * * ? *)", "timezone": "Europe/Berlin"}


class Context:
    aws_request_id = "request"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:nightshift-forget-carts"

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


class ConnectsError(Exception):
    pass


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks where the database is would connect to it."""

    def asked() -> None:
        raise ConnectsError

    monkeypatch.setenv(DATABASE_VARIABLE, "{}")
    monkeypatch.setattr("nightshift.runtime.handler.DatabaseSettings.from_environment", asked)


def fire(job: Job, time: str) -> dict[str, Any]:
    return invoke(job, {**SCHEDULED, "time": time}, Context())


@pytest.mark.parametrize("declared", [True, False])
def test_an_event_that_is_no_occurrence_is_dropped_without_a_connection(
    monkeypatch: pytest.MonkeyPatch, *, declared: bool
) -> None:
    """Whether the declaration names the zone or the settings do."""
    logged: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(telemetry, "log", lambda event, **fields: logged.append((event, fields)))
    if not declared:
        monkeypatch.setenv(SCHEDULE_VARIABLE, json.dumps(BERLIN))
    zoned = replace(job, timezone="Europe/Berlin") if declared else job

    summer = fire(zoned, "2027-07-01T01:00:20Z")

    assert (summer["outcome"], summer["scheduled_for"]) == ("not_due", "2027-07-01T01:00:00Z")
    assert summer["next"] == "2027-07-02T00:00:00Z"
    assert [event for event, _ in logged] == ["occurrence.not_due"]
    assert fire(zoned, "2027-01-01T00:00:00Z")["outcome"] == "not_due"
    for due in ("2027-07-01T00:00:20Z", "2027-01-01T01:00:00Z"):
        with pytest.raises(ConnectsError):
            fire(zoned, due)


def test_a_skipped_time_is_due_at_the_first_moment_after() -> None:
    zoned = replace(job, schedule="cron(30 2 * * ? *)", timezone="Europe/Berlin")

    with pytest.raises(ConnectsError):
        fire(zoned, "2027-03-28T01:00:00Z")
    assert fire(zoned, "2027-03-28T01:30:00Z")["outcome"] == "not_due"


def test_what_a_person_asks_for_and_the_events_of_a_job_in_utc_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for event in ({}, {"scheduled_for": "2027-07-01T01:00:00Z"}, {"run_id": "8b7d4a4d-2eaa-4f76-80c9-53dc4d37cffa"}):
        with pytest.raises(ConnectsError):
            invoke(replace(job, timezone="Europe/Berlin"), event, Context())
    with pytest.raises(ConnectsError):
        fire(job, "2027-07-01T01:17:00Z")
    monkeypatch.setenv(SCHEDULE_VARIABLE, json.dumps({"schedule": "cron(0 2 * * ? *)", "timezone": None}))
    with pytest.raises(ConnectsError):
        fire(replace(job, timezone="Europe/Berlin"), "2027-07-01T02:00:00Z")


@pytest.mark.parametrize("given", ["[]", "cron", '{"schedule": "daily", "timezone": "Europe/Berlin"}'])
def test_a_schedule_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(SCHEDULE_VARIABLE, given)

    with pytest.raises(SettingError, match=SCHEDULE_VARIABLE):
        fire(job, "2027-07-01T02:00:00Z")
