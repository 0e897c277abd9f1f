"""The payloads a job understands. Anything else is refused before anything is changed."""

import datetime as dt
import uuid
from typing import Any

import pytest

from nightshift import Delete, Job, Parameter, SettingError
from nightshift.errors import EventError
from nightshift.ledger import Request
from nightshift.runtime import read_event
from tests.ground.functions.market._tables import Cart

RETENTION = Parameter("retention_days", 7, "days", minimum=2)

job = Job(
    name="forget-carts",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Delete(Cart, older_than=RETENTION, measured_by=Cart.updated_at),),
)

SCHEDULED = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-03-01T02:00:27Z",
    "region": "eu-central-1",
    "resources": ["arn:aws:events:eu-central-1:123456789012:rule/nightshift-forget-carts"],
    "detail": {},
}


def read(event: Any, **configured: int) -> Request:
    return read_event(job, event, request_id="request", configured=configured)


def test_a_scheduled_event_means_the_minute_in_which_it_fired() -> None:
    request = read(SCHEDULED, retention_days=9)
    assert request.trigger == "schedule"
    assert request.scheduled_for == dt.datetime(2026, 3, 1, 2, 0, tzinfo=dt.UTC)
    assert request.parameters["retention_days"] == 9


def test_nothing_at_all_is_a_manual_run_as_of_now() -> None:
    request = read({})
    assert (request.trigger, request.mode, request.scheduled_for, request.forced) == ("manual", "apply", None, False)
    assert request.parameters == {"retention_days": 7, "max_share": 50, "unindexed_rows": 100_000}


def test_a_manual_call_may_give_each_of_its_keys() -> None:
    request = read(
        {
            "dry_run": True,
            "parameters": {"retention_days": "30"},
            "scheduled_for": "2026-03-02T10:00:00+01:00",
            "force": True,
            "once": True,
            "id": str(uuid.UUID(int=7)),
        },
        retention_days=9,
    )
    assert request.mode == "plan"
    assert request.parameters["retention_days"] == 30
    assert request.scheduled_for == dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)
    assert request.forced
    assert request.once
    assert request.id == uuid.UUID(int=7)


def test_a_run_id_continues_a_run() -> None:
    run = uuid.uuid4()
    assert read({"run_id": str(run)}).run_id == run
    assert read({"run_id": str(run), "once": True}).once


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (None, "the payload must be"),
        ([], "the payload must be"),
        ("now", "the payload must be"),
        ({"dryrun": True}, "unknown key 'dryrun'"),
        ({"dry_run": "yes"}, "dry_run must be true or false"),
        ({"once": "yes"}, "once must be true or false"),
        ({"run_id": str(uuid.UUID(int=1)), "once": 1}, "once must be true or false"),
        ({"force": 1}, "force must be true or false"),
        ({"force": True}, "force runs an occurrence again: name it with scheduled_for"),
        ({"parameters": [1]}, "parameters must be an object"),
        ({"scheduled_for": "tomorrow"}, "scheduled_for must be a time like"),
        ({"scheduled_for": 1772330400}, "scheduled_for must be a time like"),
        ({"scheduled_for": "2026-03-02T09:00:00"}, "scheduled_for must have a time zone"),
        ({"run_id": "7"}, "run_id must be a UUID"),
        ({"run_id": str(uuid.UUID(int=1)), "dry_run": True}, "run_id must be the only key"),
        ({"run_id": str(uuid.UUID(int=1)), "id": str(uuid.UUID(int=1))}, "run_id must be the only key"),
        ({"id": "7"}, "id must be a UUID; got '7'"),
        ({"override": {"by": "Ada", "reason": "x"}}, "unknown key 'override'"),
        ({"trigger": "cron"}, "trigger must be manual or backfill"),
        ({**SCHEDULED, "detail-type": "EC2 Instance State-change Notification"}, "not a scheduled event"),
        ({key: value for key, value in SCHEDULED.items() if key != "time"}, "not a scheduled event"),
        ({**SCHEDULED, "time": "noon"}, "time must be a time like"),
    ],
)
def test_anything_else_is_refused_with_what_would_do(event: Any, says: str) -> None:
    with pytest.raises(EventError, match=says):
        read(event)


@pytest.mark.parametrize("days", [0, 1, "-3", "soon"])
def test_a_parameter_below_its_floor_is_refused_in_a_payload_as_in_a_setting(days: Any) -> None:
    with pytest.raises(SettingError, match="retention_days must be a whole number of days, at least 2"):
        read({"parameters": {"retention_days": days}})
    with pytest.raises(SettingError, match="retention_days must be a whole number of days, at least 2"):
        read(SCHEDULED, retention_days=days)
