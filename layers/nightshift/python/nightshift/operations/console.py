"""Answers an operator's questions: jobs, runs, one run, the next occurrences, status, health, commands.

It only reads.

Answers have times in ISO 8601 (UTC, with Z) and durations in milliseconds or hours. They name runs, tables and keys,
and the operators who changed something. They contain nothing from the application's rows.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database.transaction import transaction
from nightshift.declaration import (
    PERIODS_WITHOUT_SUCCESS as PERIODS_WITHOUT_SUCCESS,
    DeployedJob,
    Deployment,
    cleaned,
    iso,
)
from nightshift.declaration.fields import shown
from nightshift.errors import EventError, printable
from nightshift.ledger import (
    OPEN_STATES,
    SUPERVISOR,
    Attempt,
    CommandRecord,
    QuarantinedItem,
    RegisteredJob,
    RunRecord,
    SignOfLife,
)
from nightshift.ledger.backfills import past_occurrences
from nightshift.ledger.dialling import dials, dials_of
from nightshift.ledger.operators import Backfill
from nightshift.ledger.pauses import Pause, pause_of_all
from nightshift.ledger.tables import EVERY_JOB
from nightshift.operations.answers import (
    HISTORY,
    Answer,
    backfill_answer,
    declared,
    deployed_job,
    dials_answer,
    find_run,
    frozen_answer,
    iso_or_none,
    past_answer,
    pause_of,
    read_number,
    read_reprocess,
    read_request,
    read_span,
    run_in_history,
    run_summary,
    upcoming,
    without_database,
)

RECENT = dt.timedelta(hours=24)
FAILURES_SHOWN = 10
QUARANTINED_SHOWN = 20
COMMANDS_SHOWN = 20

SILENT_AFTER = dt.timedelta(minutes=5)
"""The supervisor looks over the ledger every minute."""

READS = (
    *("alembic_version", "attempts", "backfills", "commands", "dial_changes", "dials", "jobs", "pauses", "quarantine"),
    *("runs", "signs_of_life"),
)
"""The tables of the schema `nightshift` that answers come from: all that a user of the console's own may read."""


@dataclass(frozen=True)
class Console:
    """Answers about one deployment as of `now`, from one snapshot of its ledger."""

    session: Session
    deployment: Deployment
    now: dt.datetime

    def jobs(self, *, job: Any = None) -> Answer:
        """Every deployed job, or one: its settings, what it does now, how it last ended, its totals, its backfills.

        Backfills that are over are left out.
        """
        registered, of_all, turned = self._registered(), pause_of_all(self.session, self.now), dials(self.session)
        totals: dict[str, dict[str, int]] = defaultdict(dict)
        successes: dict[str, dt.datetime | None] = {}
        settled = select(RunRecord.job, RunRecord.state, func.count(), func.max(RunRecord.finished_at))
        for name, state, number, latest in self.session.execute(
            settled.where(RunRecord.finished_at.is_not(None)).group_by(RunRecord.job, RunRecord.state)
        ):
            totals[name][state] = number
            if state == "succeeded":
                successes[name] = latest
        last = {record.job: record for record in self.session.scalars(_last_runs())}
        open_runs: dict[str, list[RunRecord]] = defaultdict(list)
        for record in self._open_runs():
            open_runs[record.job].append(record)
        filling: dict[str, list[Answer]] = defaultdict(list)
        unfinished = select(Backfill).where(Backfill.finished_at.is_(None))
        for backfill in self.session.scalars(unfinished.order_by(Backfill.created_at, Backfill.id)):
            filling[backfill.job].append(backfill_answer(backfill))
        return {
            "jobs": [
                {
                    **declared(deployed, self.now),
                    "paused": pause_of(registered.get(name), of_all, self.now),
                    "dials": {key: value for key, value in dials_of(turned, name).as_json().items() if value},
                    "frozen": frozen_answer(self.deployment.freezes, deployed, self.now),
                    "running": any(record.state == "running" for record in open_runs[name]),
                    "open_runs": [run_summary(record, brief=True) for record in open_runs[name]],
                    "backfills": filling[name],
                    "last_run": run_summary(last[name], brief=True) if name in last else None,
                    "last_success": iso_or_none(successes.get(name)),
                    "totals": dict(sorted(totals[name].items())),
                }
                for name, deployed in self._asked_for(job).items()
            ]
        }

    def overview(self, *, job: Any = None, runs: Any = 20, since: Any = None) -> Answer:
        """Every deployed job, or one, as `jobs` and `health` tell of it, with its parameters and its latest runs.

        With one job: also what operators have changed of it, under `commands`.

        Beside them, under `others`: the health of those whose settings make no sense, of which nothing else is known.
        And under `supervisor`: when it last looked over the ledger, and whether that is too long ago.

        runs: how many of each job's settled runs, without plans; the oldest comes first.
        since: only runs of occurrences from this time on.
        """
        asked_for, healthy = self._asked_for(job), self.health()
        health = {each["job"]: each for each in healthy["jobs"]}
        history: dict[str, list[Answer]] = defaultdict(list)
        latest = _latest_runs(list(asked_for), read_number("runs", runs), _read_since(since))
        for run in self.session.execute(latest):
            history[run.job].insert(0, run_in_history(run, asked_for[run.job].job.changed(run.counters)))
        return {
            "jobs": [
                {
                    **each,
                    "parameters": dict(asked_for[each["job"]].parameters),
                    "health": health[each["job"]],
                    "history": history[each["job"]],
                    **({} if job is None else self.commands(job=job)),
                }
                for each in self.jobs(job=job)["jobs"]
            ],
            "others": [each for name, each in health.items() if job is None and name not in asked_for],
            "supervisor": healthy["supervisor"],
        }

    def status(self) -> Answer:
        """An overview: how many jobs there are, which runs are open, and how the runs of the last 24 hours ended."""
        jobs, registered = self.deployment.understood()[0], self._registered()
        of_all = pause_of_all(self.session, self.now)
        open_runs = self._open_runs()
        recent = RunRecord.finished_at > self.now - RECENT
        ended = select(RunRecord.state, func.count()).where(recent).group_by(RunRecord.state)
        failures = select(RunRecord).where(recent, RunRecord.state == "failed").order_by(RunRecord.finished_at.desc())
        return {
            "jobs": {
                "total": len(jobs),
                "enabled": sum(deployed.enabled for deployed in jobs.values()),
                "paused": sum(pause_of(registered.get(name), of_all, self.now) is not None for name in jobs),
                "running": len({record.job for record in open_runs if record.state == "running"}),
            },
            "open_runs": [run_summary(record, brief=True) for record in open_runs],
            "last_24_hours": dict(sorted((state, number) for state, number in self.session.execute(ended))),
            "quarantined_last_24_hours": self.session.scalar(
                select(func.count()).select_from(QuarantinedItem).where(QuarantinedItem.at > self.now - RECENT)
            ),
            "failures": [
                run_summary(record, brief=True) for record in self.session.scalars(failures.limit(FAILURES_SHOWN))
            ],
        }

    def runs(self, *, job: Any = None, limit: Any = 20) -> Answer:
        """The latest runs by creation time, of one job or of all."""
        of_job = true() if job is None else RunRecord.job.in_(self._asked_for(job))
        newest = select(RunRecord).where(of_job).order_by(RunRecord.created_at.desc(), RunRecord.id)
        found = self.session.scalars(newest.limit(read_number("limit", limit)))
        return {"runs": [run_summary(record, brief=True) for record in found]}

    def run(self, *, run_id: Any = None) -> Answer:
        """Everything about one run. The first characters of its id are enough if no other run's id starts with them."""
        record = find_run(self.session, run_id)
        attempts = select(Attempt).where(Attempt.run_id == record.id).order_by(Attempt.epoch)
        items = select(QuarantinedItem).where(QuarantinedItem.run_id == record.id).order_by(QuarantinedItem.id)
        return {
            "run": {
                **run_summary(record),
                "request_id": record.request_id,
                "parameters": record.parameters,
                "override": record.override,
                "lease_until": iso_or_none(record.lease_until),
                "step": record.step,
                "candidates": record.candidates,
                "plan": record.plan,
                "commands": self._commands(CommandRecord.run_id == record.id, COMMANDS_SHOWN),
                "attempts": [
                    {
                        "epoch": attempt.epoch,
                        "request_id": attempt.request_id,
                        "started_at": iso(attempt.started_at),
                        "ended_at": iso_or_none(attempt.ended_at),
                        "ending": attempt.ending,
                        "error": attempt.error and printable(attempt.error),
                    }
                    for attempt in self.session.scalars(attempts)
                ],
                "quarantined": [
                    {"step": item.step, "item": printable(item.item), "error": printable(item.error)}
                    for item in self.session.scalars(items.limit(QUARANTINED_SHOWN))
                ],
            }
        }

    def dials(self, *, job: Any = None) -> Answer:
        """How the dials of a job stand, or those of all jobs (without a name), and who turned them last, and why."""
        return dials_answer(EVERY_JOB if job is None else deployed_job(self.deployment, job).job.name, self.session)

    def next(self, *, job: Any = None, count: Any = 10) -> Answer:
        """The next occurrences of the enabled jobs, or of one. Those of a paused job will be settled as paused, and
        say by whose pause, why and until when."""
        registered, of_all = self._registered(), pause_of_all(self.session, self.now)

        def with_pause(occurrence: Answer) -> Answer:
            at = dt.datetime.fromisoformat(occurrence["scheduled_for"])
            pause = pause_of(registered.get(occurrence["job"]), of_all, at)
            return {**occurrence, "paused": pause is not None, **({} if pause is None else {"pause": pause})}

        found = upcoming(self._asked_for(job), self.now, read_number("count", count))
        return {"next": [with_pause(occurrence) for occurrence in found]}

    def backfills(self, *, job: Any = None, limit: Any = 20) -> Answer:
        """Backfills of one job or of all: those that are at work first, then the latest that ended."""
        of_job = true() if job is None else Backfill.job.in_(self._asked_for(job))
        ended = Backfill.finished_at.is_not(None)
        found = select(Backfill).where(of_job).order_by(ended, Backfill.created_at.desc(), Backfill.id)
        return {
            "backfills": [
                backfill_answer(each) for each in self.session.scalars(found.limit(read_number("limit", limit)))
            ]
        }

    def past(self, *, job: Any = None, since: Any = None, until: Any = None, reprocess: Any = "none") -> Answer:
        """What a backfill of a job from one time to another would do with each occurrence."""
        deployed, (start, end) = deployed_job(self.deployment, job), read_span(since, until)
        found = past_occurrences(
            self.session, deployed.job.name, deployed.schedule, start, min(end, self.now), read_reprocess(reprocess)
        )
        return {"occurrences": past_answer(found)}

    def health(self) -> Answer:
        """Whether the database answers, and whether every job has succeeded recently.

        Each job is checked by itself, and only successful runs count: a common check would hide a dead job behind the
        others. The limit is two periods of the job's own schedule. For a job that has never succeeded, it counts from
        the job's registration. Disabled and paused jobs are shown and do not count.
        """
        registered, of_all = self._registered(), pause_of_all(self.session, self.now)
        succeeded = select(RunRecord.job, func.max(RunRecord.finished_at)).where(RunRecord.state == "succeeded")
        successes = dict(self.session.execute(succeeded.group_by(RunRecord.job)).all())
        understood, others = self.deployment.understood()
        jobs = [
            self._health_of(name, deployed, registered.get(name), successes.get(name), of_all)
            for name, deployed in understood.items()
        ]
        jobs += [
            {
                "job": name,
                "status": "degraded",
                "reason": f"its settings make no sense: {one.reason}",
                "last_success": iso_or_none(successes.get(name)),
                "hours_since_success": _hours(self.now - success) if (success := successes.get(name)) else None,
                "limit_hours": None,
            }
            for name, one in others.items()
        ]
        degraded = any(job["status"] == "degraded" for job in jobs)
        return {
            "status": "ready",
            "scheduler": "degraded" if degraded else "healthy",
            "supervisor": self._supervisor(),
            "jobs": jobs,
        }

    def suggest(self) -> Answer:
        """Jobs that could be written: tables that grow and age, from the catalogue and the planner's statistics alone.

        Nothing is proposed for tables that a job deletes from.
        """
        from nightshift.catalogue.proposals import suggest  # no other question needs it

        understood, others = self.deployment.understood()
        jobs = [*(each.job for each in understood.values()), *(each.job for each in others.values())]
        return suggest(self.session, cleaned(jobs), now=self.now).as_json()

    def installation(self) -> Answer:
        """What `nightshift doctor` asks: how the functions reach the database, and what the ledger says of them."""
        from nightshift.operations.installation import installation  # no other question needs it

        return installation(self.session, self.deployment, self.now, self._supervisor)

    def _health_of(
        self,
        name: str,
        deployed: DeployedJob,
        registered: RegisteredJob | None,
        success: dt.datetime | None,
        of_all: Pause | None,
    ) -> Answer:
        limit = PERIODS_WITHOUT_SUCCESS * deployed.schedule.period(self.now)
        since = success or (registered.registered_at if registered else None)
        if not deployed.enabled:
            status, reason = "disabled", "disabled by the deployment's settings"
        elif pause := pause_of(registered, of_all, self.now):
            status, reason = "paused", f"paused by {pause['by']}: {pause['reason']}"
        elif since is None:
            status, reason = "degraded", "not in the ledger: neither registered by a deployment nor ever run"
        elif self.now - since > limit:
            status = "degraded"
            reason = f"no success within {_hours(limit):g} h, two periods of its schedule"
        else:
            status, reason = "healthy", None
        return {
            "job": name,
            "status": status,
            "reason": reason,
            "last_success": iso_or_none(success),
            "hours_since_success": _hours(self.now - success) if success else None,
            "limit_hours": _hours(limit),
        }

    def _registered(self) -> dict[str, RegisteredJob]:
        return {job.name: job for job in self.session.scalars(select(RegisteredJob))}

    def _open_runs(self) -> list[RunRecord]:
        found = select(RunRecord).where(RunRecord.state.in_(OPEN_STATES))
        return list(self.session.scalars(found.order_by(RunRecord.scheduled_for, RunRecord.id)))

    def _asked_for(self, name: Any) -> dict[str, DeployedJob]:
        if name is None:
            return self.deployment.understood()[0]
        return {name: deployed_job(self.deployment, name)}

    def commands(self, *, job: Any = None, limit: Any = 20) -> Answer:
        """What operators have changed, or were refused, of one job or of all: the newest first."""
        of_job = true() if job is None else CommandRecord.job.in_(self._asked_for(job))
        return {"commands": self._commands(of_job, read_number("limit", limit))}

    def _commands(self, which: ColumnElement[bool], limit: int) -> list[Answer]:
        newest = select(CommandRecord).where(which).order_by(CommandRecord.at.desc(), CommandRecord.id.desc())
        return [
            {
                "at": iso(record.at),
                "command": record.command,
                "job": record.job,
                "run_id": record.run_id and str(record.run_id),
                "by": record.by,
                "caller": record.caller,
                "request_id": record.request_id,
                "reason": record.reason,
                "arguments": record.arguments,
                "result": record.result,
            }
            for record in self.session.scalars(newest.limit(limit))
        ]

    def _supervisor(self) -> Answer:
        """When the supervisor last looked over the ledger, and whether that is too long ago."""
        at = self.session.scalar(select(SignOfLife.at).where(SignOfLife.name == SUPERVISOR))
        silent = at is None or self.now - at > SILENT_AFTER
        return {"last_round": iso_or_none(at), "silent": silent}


Query = Callable[..., Answer]

QUERIES: Mapping[str, tuple[Query, frozenset[str]]] = {
    "jobs": (Console.jobs, frozenset({"job"})),
    "overview": (Console.overview, frozenset({"job", "runs", "since"})),
    "status": (Console.status, frozenset()),
    "runs": (Console.runs, frozenset({"job", "limit"})),
    "run": (Console.run, frozenset({"run_id"})),
    "next": (Console.next, frozenset({"job", "count"})),
    "health": (Console.health, frozenset()),
    "commands": (Console.commands, frozenset({"job", "limit"})),
    "suggest": (Console.suggest, frozenset()),
    "installation": (Console.installation, frozenset()),
    "dials": (Console.dials, frozenset({"job"})),
    "backfills": (Console.backfills, frozenset({"job", "limit"})),
    "past": (Console.past, frozenset({"job", "since", "until", "reprocess"})),
}
"""Every question by its name, with the keys that it may have."""


def answer(session: Session, deployment: Deployment, question: Any, *, now: dt.datetime) -> Answer:
    """The answer to `{"query": name, …}`. A wrong question, or a database that does not answer, gives `{"error": …}`.

    If the question is health and the database does not answer: `{"status": "not_ready", "reason": …}`.
    """
    try:
        query, keys = read_request(question, "query", QUERIES)
        with transaction(session, isolation="repeatable read", read_only=True):
            return query(Console(session, deployment, now), **keys)
    except EventError as refusal:
        return {"error": str(refusal)}
    except (DBAPIError, OSError) as cause:
        return without_database(question, cause)


def _last_runs() -> Select[RunRecord]:
    """The latest settled run of every job, without plans."""
    settled = select(RunRecord).where(RunRecord.mode == "apply", RunRecord.finished_at.is_not(None))
    return settled.ext(distinct_on(RunRecord.job)).order_by(RunRecord.job, RunRecord.finished_at.desc(), RunRecord.id)


def _latest_runs(jobs: Sequence[str], count: int, since: dt.datetime | None) -> Select[*tuple[Any, ...]]:
    """So many of the latest settled runs of each job, without plans: the newest occurrence first, job by job."""
    asked_for = select(RegisteredJob.name).where(RegisteredJob.name.in_(jobs)).subquery()
    settled = select(*HISTORY).where(
        RunRecord.job == asked_for.c.name,
        RunRecord.mode == "apply",
        RunRecord.finished_at.is_not(None),
        true() if since is None else RunRecord.scheduled_for >= since,
    )
    latest = settled.order_by(RunRecord.scheduled_for.desc()).limit(count).correlate(asked_for).lateral()
    return (
        select(latest).select_from(asked_for).join(latest, true()).order_by(latest.c.job, latest.c.scheduled_for.desc())
    )


def _read_since(value: Any) -> dt.datetime | None:
    if value is None:
        return None
    try:
        instant = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        instant = None
    if instant is None or instant.tzinfo is None:
        raise EventError(f"since must be a time like 2026-03-02T09:00:00Z; got {shown(value)}")
    return instant


def _hours(span: dt.timedelta) -> float:
    return round(span / dt.timedelta(hours=1), 2)
