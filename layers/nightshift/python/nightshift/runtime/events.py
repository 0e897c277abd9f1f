"""The payloads that a job accepts: EventBridge's scheduled event, a manual call, and a run to continue."""

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from nightshift.declaration import Job
from nightshift.declaration.fields import shown
from nightshift.declaration.payload import read_instant, read_truth
from nightshift.declaration.schedule import CALENDAR_END, CALENDAR_START, FIRST_YEAR, LAST_YEAR
from nightshift.errors import EventError
from nightshift.ledger import Request

MANUAL_KEYS = {"dry_run", "parameters", "scheduled_for", "force", "trigger", "once", "id"}
FORMS = (
    'a scheduled event, {} or {"dry_run": true, "parameters": {…}, "scheduled_for": "2026-03-02T09:00:00Z"} '
    'with any of these keys, {"check": true}, or {"run_id": "…"}; with "once": true what fails is not '
    'tried again, because somebody waits for the answer; with "id": "…" a new run gets this UUID'
)


def read_event(job: Job, event: Any, *, request_id: str | None, configured: Mapping[str, Any]) -> Request:
    """What an invocation asks for. `configured` has the parameters that the deployment set.

    Raises:
        EventError: the payload has none of the known forms, or a value that makes no sense.
        SettingError: the job has no such parameter, or its value is outside the limits.
    """
    if not isinstance(event, Mapping):
        raise EventError(f"the payload must be {FORMS}; got {type(event).__name__}")
    if "detail-type" in event or "source" in event:
        return _scheduled(job, event, request_id, configured)
    if "run_id" in event:
        if not set(event) <= {"run_id", "once"}:
            raise EventError(
                f"run_id must be the only key but once: the run's facts are frozen; got {shown(sorted(event))}"
            )
        once = read_truth("once", event.get("once", False))
        own = job.resolve(configured)  # the run has its own, but for those that came with a later deployment
        return Request(run_id=_uuid("run_id", event["run_id"]), request_id=request_id, once=once, parameters=own)
    return _manual(job, event, request_id, configured)


def _scheduled(job: Job, event: Mapping[str, Any], request_id: str | None, configured: Mapping[str, Any]) -> Request:
    if event.get("detail-type") != "Scheduled Event" or not isinstance(event.get("time"), str):
        raise EventError(f"not a scheduled event of EventBridge; the payload must be {FORMS}")
    # A rule fires at any second of its minute. The occurrence is the minute.
    time = _instant("time", event["time"]).replace(second=0, microsecond=0)
    return Request("schedule", scheduled_for=time, parameters=job.resolve(configured), request_id=request_id)


def _manual(job: Job, event: Mapping[str, Any], request_id: str | None, configured: Mapping[str, Any]) -> Request:
    if unknown := sorted(set(event) - MANUAL_KEYS):
        raise EventError(f"unknown key {shown(unknown[0])}; the payload must be {FORMS}")
    plan, forced, once = (read_truth(key, event.get(key, False)) for key in ("dry_run", "force", "once"))
    given = event.get("parameters", {})
    if not isinstance(given, Mapping):
        raise EventError(f"parameters must be an object of names and numbers; got {shown(given)}")
    trigger = event.get("trigger", "manual")
    if trigger not in ("manual", "backfill"):
        raise EventError(f"trigger must be manual or backfill; got {shown(trigger)}")
    at, id = event.get("scheduled_for"), event.get("id")
    if trigger == "backfill" and at is None:
        raise EventError("a backfill needs the occurrence it is for: scheduled_for, like 2026-03-02T09:00:00Z")
    if forced and at is None:
        raise EventError("force runs an occurrence again: name it with scheduled_for, like 2026-03-02T09:00:00Z")
    return Request(
        trigger,
        mode="plan" if plan else "apply",
        scheduled_for=None if at is None else _instant("scheduled_for", at),
        forced=forced,
        once=once,
        id=None if id is None else _uuid("id", id),
        request_id=request_id,
        parameters=job.resolve({**configured, **given}),
    )


def _uuid(key: str, value: Any) -> uuid.UUID:
    try:
        return uuid.UUID(str(value))
    except ValueError:
        raise EventError(f"{key} must be a UUID; got {shown(value)}") from None


def _instant(key: str, value: Any) -> dt.datetime:
    instant = read_instant(key, value)
    if not CALENDAR_START <= instant < CALENDAR_END:
        raise EventError(f"{key} must lie in the years {FIRST_YEAR} to {LAST_YEAR}; got {shown(value)}")
    return instant.astimezone(dt.UTC)
