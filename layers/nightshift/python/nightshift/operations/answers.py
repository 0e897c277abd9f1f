"""The parts of answers (a run, a job, a pause, the next occurrences), and how a question is read."""

import datetime as dt
import heapq
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session

from nightshift.database import describe
from nightshift.declaration import DeployedJob, Deployment, Schedule, iso
from nightshift.declaration.fields import shown
from nightshift.declaration.windows import Freeze, freeze_of
from nightshift.errors import MOST_BYTES, EventError, printable
from nightshift.ledger import RegisteredJob, RunRecord, Standing, duration_ms
from nightshift.ledger.backfills import REPROCESS, Past, Reprocess
from nightshift.ledger.claims import UNDONE
from nightshift.ledger.dialling import dials, dials_of, history
from nightshift.ledger.operators import Backfill
from nightshift.ledger.pauses import Pause, pause_of_one

Answer = dict[str, Any]
MOST_ROWS = 500
SHORTEST_RUN_ID = 6
CHANGES_SHOWN = 10
BRIEF_BYTES = 256
"""How long a reason or an error is in a list of runs, in UTF-8."""


def without_database(question: Any, cause: DBAPIError | OSError) -> Answer:
    """The answer to a question or a command where the database does not let it be carried out: why, in words."""
    reason = f"the database does not answer: {describe(cause)}"
    if isinstance(question, Mapping) and question.get("query") == "health":
        return {"status": "not_ready", "reason": reason}
    return {"error": reason}


def read_request(
    request: Any, what: str, known: Mapping[str, tuple[Callable[..., Answer], frozenset[str]]]
) -> tuple[Callable[..., Answer], dict[str, Any]]:
    """The function that `{what: name, …}` asks for, and its keys.

    Raises:
        EventError: an unknown name or key.
    """
    name = request.get(what) if isinstance(request, Mapping) else None
    if not isinstance(name, str) or name not in known:
        raise EventError(f'the payload must be {{"{what}": …}} with one of {", ".join(known)}; got {shown(request)}')
    function, its_keys = known[name]
    keys = {key: value for key, value in request.items() if key != what}
    if unknown := sorted(set(keys) - its_keys):
        raise EventError(
            f"the {what} {name} has no key {shown(unknown[0])}; it has {', '.join(sorted(its_keys)) or 'none'}"
        )
    return function, keys


def declared(deployed: DeployedJob, now: dt.datetime) -> Answer:
    """What is known of a job without the ledger."""
    job, schedule = deployed.job, deployed.schedule
    return {
        "job": job.name,
        "pack": deployed.registration.pack,
        "kind": job.kind,
        "critical": job.critical,
        "rule": deployed.registration.rule.partition("\n\n")[0].replace("\n", " "),
        **_when(schedule),
        "enabled": deployed.enabled,
        "next_run": iso_or_none(schedule.next_after(now)) if deployed.enabled else None,
    }


def _when(schedule: Schedule) -> Answer:
    """A schedule as answers show it. `timezone` is null for one in UTC."""
    return {"schedule": schedule.expression, "timezone": schedule.timezone}


def upcoming(jobs: Mapping[str, DeployedJob], now: dt.datetime, count: int) -> list[Answer]:
    """The first `count` occurrences of these jobs after `now`, in order; a disabled job has none."""

    def fires(name: str, deployed: DeployedJob) -> Iterator[tuple[dt.datetime, str]]:
        fire = deployed.schedule.next_after(now)
        while fire is not None:
            yield fire, name
            fire = deployed.schedule.next_after(fire)

    streams: Iterable[Iterator[tuple[dt.datetime, str]]] = (
        fires(name, deployed) for name, deployed in jobs.items() if deployed.enabled
    )
    return [
        {"job": name, "scheduled_for": iso(fire), **_when(jobs[name].schedule)}
        for fire, name in islice(heapq.merge(*streams), count)
    ]


def run_summary(record: RunRecord, *, brief: bool = False) -> Answer:
    """A run, with the same names as in a job's result.

    brief: as lists show it. Their texts are short: Lambda's answers have 6 MB at most.
    """
    standing = Standing.of(record)
    most = BRIEF_BYTES if brief else MOST_BYTES
    return {
        "run_id": str(record.id),
        "job": record.job,
        "scheduled_for": iso(standing.run.now),
        "trigger": record.trigger,
        "mode": record.mode,
        "forced": record.forced,
        "outcome": standing.state,
        "reason": standing.reason and printable(standing.reason, most=most),
        "started_at": iso_or_none(record.started_at),
        "finished_at": iso_or_none(record.finished_at),
        "duration_ms": standing.duration_ms,
        "attempt": record.attempts,
        "max_attempts": record.max_attempts,
        "counters": standing.counters,
        "anomalies": dict(record.anomalies or {}),
        "errors": [printable(error, most=most) for error in standing.errors],
        "notes": [] if brief else [printable(note) for note in standing.notes],
        "strain": record.strain,
    }


HISTORY = (
    *(RunRecord.id, RunRecord.job, RunRecord.scheduled_for, RunRecord.started_at, RunRecord.finished_at),
    *(RunRecord.state, RunRecord.counters),
)
"""What is read of a run for `run_in_history`: hundreds of them are told at once."""


def run_in_history(run: Row[Any], changed: int) -> Answer:
    """A settled run among others, as a drawing over time needs it."""
    return {
        "run_id": str(run.id),
        "scheduled_for": iso(run.scheduled_for.astimezone(dt.UTC)),
        "started_at": iso_or_none(run.started_at),
        "outcome": run.state,
        "duration_ms": duration_ms(run.started_at, run.finished_at),
        "changed": changed,
    }


def deployed_job(deployment: Deployment, name: Any) -> DeployedJob:
    """The deployed job of that name.

    Raises:
        EventError: no deployed job has this name, or its settings make no sense.
    """
    jobs, others = deployment.understood()
    if isinstance(name, str) and name in others:
        raise EventError(f"the settings of job {name} make no sense: {others[name].reason}")
    if not isinstance(name, str) or name not in jobs:
        raise EventError(f"no deployed job is named {shown(name)}")
    return jobs[name]


def find_run(session: Session, run_id: Any) -> RunRecord:
    """The run with that id, or the only run whose id starts with it.

    Raises:
        EventError: no run matches, several runs match, or the text is not an id.
    """
    found = session.scalars(select(RunRecord).where(_begins_with(run_id)).limit(2)).all()
    if len(found) != 1:
        raise EventError(f"no run has the id {run_id}" if not found else f"several runs begin with {run_id}")
    return found[0]


def _begins_with(
    run_id: Any, column: InstrumentedAttribute[uuid.UUID] = RunRecord.id, what: str = "run"
) -> ColumnElement[bool]:
    """The ids that start with these digits: one range of the key, from the digits and zeros to the digits and fs."""
    digits = str(run_id).replace("-", "").lower()
    if not SHORTEST_RUN_ID <= len(digits) <= 32 or not set(digits) <= set("0123456789abcdef"):
        raise EventError(
            f"{what}_id must be a {what}'s id, or its first {SHORTEST_RUN_ID} characters; got {shown(run_id)}"
        )
    return column.between(uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f")))


def find_backfill(session: Session, backfill_id: Any) -> Backfill:
    """The backfill with that id, or the only one whose id starts with it.

    Raises:
        EventError: none matches, several match, or the text is not an id.
    """
    found = session.scalars(select(Backfill).where(_begins_with(backfill_id, Backfill.id, "backfill")).limit(2)).all()
    if len(found) != 1:
        lack = f"no backfill has the id {backfill_id}" if not found else f"several backfills begin with {backfill_id}"
        raise EventError(lack)
    return found[0]


def backfill_answer(backfill: Backfill) -> Answer:
    """A backfill as answers show it. `done`: how many of its occurrences are behind it."""
    done = sum(backfill.counts.values())
    return {
        "backfill_id": str(backfill.id),
        "job": backfill.job,
        "schedule": backfill.schedule,
        "timezone": backfill.timezone,
        "since": iso(backfill.since),
        "until": iso(backfill.until),
        "reprocess": backfill.reprocess,
        "state": backfill.state,
        "told": backfill.told and printable(backfill.told),
        "occurrences": backfill.occurrences,
        "done": done,
        "counts": backfill.counts,
        "run_id": None if backfill.run_id is None else str(backfill.run_id),
        "by": backfill.requested_by,
        "reason": backfill.reason,
        "created_at": iso(backfill.created_at),
        "finished_at": iso_or_none(backfill.finished_at),
    }


def past_answer(past: Iterable[Past]) -> list[Answer]:
    """What a backfill does with each occurrence: `run` one that has not run, `run again`, or `keep`."""
    return [
        {
            "scheduled_for": iso(each.time),
            "outcome": each.outcome,
            "does": "keep" if not each.runs else ("run" if each.outcome in (None, *UNDONE) else "run again"),
        }
        for each in past
    ]


def read_reprocess(value: Any) -> Reprocess:
    for known in REPROCESS:
        if value == known:
            return known
    raise EventError(f"reprocess must be one of {', '.join(REPROCESS)}; got {shown(value)}")


def read_span(since: Any, until: Any) -> tuple[dt.datetime, dt.datetime]:
    """From when to when a backfill goes, in UTC."""
    start, end = (_instant(key, value) for key, value in (("since", since), ("until", until)))
    if start >= end:
        raise EventError(f"since {iso(start)} is not before until {iso(end)}: the end comes after the start")
    return start, end


def _instant(key: str, value: Any) -> dt.datetime:
    try:
        instant = dt.datetime.fromisoformat(value)
        if instant.tzinfo is not None:
            return instant.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise EventError(f"{key} must be a time with a zone, like 2026-03-02T09:00:00Z; got {shown(value)}")


def read_number(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ROWS:
        raise EventError(f"{key} must be a whole number from 1 to {MOST_ROWS}; got {shown(value)}")
    return value


def pause_of(registered: RegisteredJob | None, of_all: Pause | None, now: dt.datetime) -> Answer | None:
    """Since when a job is paused, by whom, why and until when; None if it is not paused then.

    now: may be an instant to come, at which a pause of today has ended.
    """
    pause = pause_of_one(registered, now) if registered is not None else None
    if of_all is not None and of_all.until is not None and of_all.until <= now:
        of_all = None
    return pause_answer(pause or of_all)


def pause_answer(pause: Pause | None) -> Answer | None:
    if pause is None:
        return None
    told: Answer = {"at": iso(pause.at), "by": pause.by, "reason": pause.reason}
    return told | ({"until": iso(pause.until)} if pause.until else {}) | ({"all": True} if pause.of_all else {})


def frozen_answer(freezes: Iterable[Freeze], deployed: DeployedJob, now: dt.datetime) -> Answer | None:
    """Until when a job is frozen, and why; None if it is not."""
    freeze = freeze_of(freezes, deployed.job, now)
    return None if freeze is None else {"until": iso(freeze.until), "reason": freeze.reason}


def dials_answer(job: str, session: Session) -> Answer:
    """How the dials of a job stand, whose row says so, and the last changes."""
    records = dials(session)
    merged = dials_of(records, job)
    return {
        "job": job,
        "dials": merged.as_json(),
        "held_because": merged.told or None,
        "changes": [
            {
                "job": change.job,
                "dials": change.dials,
                "at": iso(change.changed_at),
                "by": change.changed_by,
                "reason": change.reason,
            }
            for change in history(session, job, CHANGES_SHOWN)
        ],
    }


def iso_or_none(instant: dt.datetime | None) -> str | None:
    return None if instant is None else iso(instant)
