"""What an operator changes in the ledger: pause and resume jobs, turn their dials, cancel or redrive a run, backfill.

Each answer shows the job or the run after the change, in the same form as `nightshift.operations.console`.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.declaration import Deployment, iso
from nightshift.declaration.fields import shown
from nightshift.declaration.payload import read_instant, read_truth
from nightshift.declaration.windows import Hours
from nightshift.errors import EventError, printable
from nightshift.ledger import CommandRecord, backfills
from nightshift.ledger.dialling import dials as records_of, turn
from nightshift.ledger.operators import DialRecord
from nightshift.ledger.pauses import Pause, pause_all, pause_of_all, pause_of_one, paused_by_themselves, resume_all
from nightshift.ledger.tables import EVERY_JOB, RegisteredJob
from nightshift.operations.answers import (
    Answer,
    backfill_answer,
    deployed_job,
    dials_answer,
    find_backfill,
    find_run,
    past_answer,
    pause_answer,
    pause_of,
    read_reprocess,
    read_request,
    read_span,
    run_summary,
    without_database,
)


@dataclass(frozen=True)
class Control:
    """Changes to one deployment's ledger, in the caller's transaction."""

    session: Session
    deployment: Deployment

    def pause(
        self, *, job: Any = None, all: Any = False, by: Any = None, reason: Any = None, until: Any = None
    ) -> Answer:
        """Pause a job, or all of them: their occurrences are settled as paused. Open runs continue. A person can still
        run the job.

        until: when the pause ends by itself; without it, when somebody resumes.

        The answer's `replaced` is the pause of the same job, or of all, that this one has taken the place of.
        """
        who, why = _words("by", by), _words("reason", reason)
        clock = ledger.database_clock(self.session)
        end = None if until is None else _later("until", until, clock)
        if self._all(job, all):
            before = pause_of_all(self.session, clock, lock=True)
            paused = pause_all(self.session, clock, who, why, end)
            return {"job": None, "paused": pause_answer(paused), "replaced": pause_answer(before)}
        name = self._job(job)
        registered, _ = ledger.lock_job(self.session, name)
        before = pause_of_one(registered, clock)
        registered.paused_at, registered.paused_until = clock, end
        registered.paused_by, registered.pause_reason = who, why
        return {"job": name, "paused": pause_of(registered, None, clock), "replaced": pause_answer(before)}

    def resume(self, *, job: Any = None, all: Any = False, by: Any = None, reason: Any = None) -> Answer:
        """Resume a job: its occurrences run again, from the next one on. Or end the pause of all: jobs that are paused
        by themselves stay so.

        Refused where there is no such pause.
        """
        _words("by", by), _words("reason", reason)
        clock = ledger.database_clock(self.session)
        if self._all(job, all):
            if pause_of_all(self.session, clock, lock=True) is None:
                raise EventError(_not_all_paused(paused_by_themselves(self.session, clock)))
            resume_all(self.session)
            return {"job": None, "paused": None}
        name = self._job(job)
        registered, _ = ledger.lock_job(self.session, name)
        if pause_of_one(registered, clock) is None:
            raise EventError(_not_paused(registered, pause_of_all(self.session, clock)))
        registered.paused_at = registered.paused_by = registered.pause_reason = registered.paused_until = None
        return {"job": name, "paused": pause_answer(pause_of_all(self.session, clock))}

    def dial(
        self,
        *,
        job: Any = None,
        all: Any = False,
        by: Any = None,
        reason: Any = None,
        reset: Any = False,
        **dials: Any,
    ) -> Answer:
        """Turn dials of a job, or of all: from the next batch on. Those that are not named stay as they are.

        reset: those that are not named are as declared again.
        """
        name = EVERY_JOB if self._all(job, all) else self._job(job)
        who, why = _words("by", by), _words("reason", reason)
        reset = read_truth("reset", reset)
        changes = {key: _DIALS[key](key, value) for key, value in dials.items()}
        if not changes and not reset:
            raise EventError(f"say which dial to turn ({', '.join(_DIALS)}), or reset")
        if changes == {"held": False} and not reset:
            _check_held(records_of(self.session), name)
        turn(self.session, name, changes, who, why, reset=reset)
        return dials_answer(name, self.session)

    def cancel(self, *, run_id: Any = None, by: Any = None, reason: Any = None) -> Answer:
        """End an open run for good. What it committed stays. An attempt that is working commits nothing more."""
        found = find_run(self.session, run_id)
        record = ledger.cancel(
            self.session, found.id, printable(f"cancelled by {_words('by', by)}: {_words('reason', reason)}")
        )
        return {"run": run_summary(record)}

    def redrive(self, *, run_id: Any = None, by: Any = None, override_cap: Any = False, reason: Any = None) -> Answer:
        """Open a failed or cancelled run again, with all its attempts, to go on at its cursor.

        override_cap: let it touch, this once, as many rows as it has counted and stated, with a reason.
        """
        found, who = find_run(self.session, run_id), _words("by", by)
        override_cap = read_truth("override_cap", override_cap)
        deployed = self.deployment.understood()[0].get(found.job)
        if deployed is None or not deployed.enabled:
            lack = "is not deployed" if deployed is None else "is disabled by the deployment's settings"
            raise EventError(f"job {found.job} {lack}, so nobody could go on with its run: deploy or enable it first")
        override = {"by": who, "reason": _words("reason", reason)} if override_cap else None
        told = printable(f"redriven by {who}; before: {found.reason}")
        record = ledger.redrive(self.session, found.id, told, override=override)
        return {"run": run_summary(record)}

    def backfill(
        self,
        *,
        job: Any = None,
        since: Any = None,
        until: Any = None,
        reprocess: Any = "none",
        by: Any = None,
        reason: Any = None,
    ) -> Answer:
        """Have the supervisor run a job's occurrences from one time to another, oldest first.

        reprocess: which of those that have run already run again: `none`, those that `failed`, or `all`.
        """
        deployed, (start, end) = deployed_job(self.deployment, job), read_span(since, until)
        if not deployed.enabled:
            raise EventError(f"job {deployed.job.name} is disabled by the deployment's settings: enable it first")
        asked, past = backfills.ask_for(
            self.session,
            deployed.job.name,
            deployed.schedule,
            start,
            end,
            read_reprocess(reprocess),
            by=_words("by", by),
            reason=_words("reason", reason),
        )
        return {"backfill": backfill_answer(asked), "occurrences": past_answer(past)}

    def pause_backfill(self, *, backfill_id: Any = None, by: Any = None, reason: Any = None) -> Answer:
        """Begin no more runs of a backfill until it is resumed. Its open run goes on."""
        return self._change_backfill(backfill_id, "paused", f"paused by {_words('by', by)}: {_words('reason', reason)}")

    def resume_backfill(self, *, backfill_id: Any = None, by: Any = None, reason: Any = None) -> Answer:
        """Go on with a paused backfill, at its next occurrence. One that failed is not repeated: redrive its run.

        A reason may be given, and need not.
        """
        why = "" if reason is None else f": {_words('reason', reason)}"
        return self._change_backfill(backfill_id, "open", f"resumed by {_words('by', by)}{why}")

    def cancel_backfill(self, *, backfill_id: Any = None, by: Any = None, reason: Any = None) -> Answer:
        """End a backfill for good. What it has run stays, and its open run goes on."""
        told = f"cancelled by {_words('by', by)}: {_words('reason', reason)}"
        return self._change_backfill(backfill_id, "cancelled", told)

    def _change_backfill(self, backfill_id: Any, to: Literal["open", "paused", "cancelled"], told: str) -> Answer:
        found = find_backfill(self.session, backfill_id)
        return {"backfill": backfill_answer(backfills.change(self.session, found.id, to, printable(told)))}

    def _all(self, job: Any, every: Any) -> bool:
        of_all = read_truth("all", every)
        if of_all and job is not None:
            raise EventError(f"name one job, or all of them; got both, all and {shown(job)}")
        return of_all

    def _job(self, name: Any) -> str:
        if isinstance(name, str) and name in self.deployment.understood()[1]:
            return name  # pausing it is what one may want just then
        return deployed_job(self.deployment, name).job.name


MOST_ROWS = 10_000_000
MOST_SECONDS = 3600


def _rows(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ROWS:
        raise EventError(f"{key} must be a whole number from 1 to {MOST_ROWS}; got {shown(value)}")
    return value


def _per_second(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= MOST_ROWS:
        raise EventError(f"{key} must be a number from 0.1 to {MOST_ROWS}; got {shown(value)}")
    return float(value)


def _seconds(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_SECONDS:
        raise EventError(f"{key} must be a number of seconds from 0 to {MOST_SECONDS}; got {shown(value)}")
    return float(value)


def _hours(key: str, value: Any) -> str:
    try:
        return str(Hours.parse(value if isinstance(value, str) else repr(value)))
    except ValueError as error:
        raise EventError(f"{key}: {error}") from None


_DIALS: Mapping[str, Callable[[str, Any], Any]] = {
    "largest_batch": _rows,
    "rows_per_second": _per_second,
    "pause_seconds": _seconds,
    "hours": _hours,
    "held": read_truth,
}
"""Every dial, and how its value is read."""

Command = Callable[..., Answer]

COMMANDS: Mapping[str, tuple[Command, frozenset[str]]] = {
    "pause": (Control.pause, frozenset({"job", "all", "by", "reason", "until"})),
    "resume": (Control.resume, frozenset({"job", "all", "by", "reason"})),
    "cancel": (Control.cancel, frozenset({"run_id", "by", "reason"})),
    "redrive": (Control.redrive, frozenset({"run_id", "by", "override_cap", "reason"})),
    "backfill": (Control.backfill, frozenset({"job", "since", "until", "reprocess", "by", "reason"})),
    "pause_backfill": (Control.pause_backfill, frozenset({"backfill_id", "by", "reason"})),
    "resume_backfill": (Control.resume_backfill, frozenset({"backfill_id", "by", "reason"})),
    "cancel_backfill": (Control.cancel_backfill, frozenset({"backfill_id", "by", "reason"})),
    "dial": (Control.dial, frozenset({"job", "all", "by", "reason", "reset", *_DIALS})),
}
"""Every command by its name, with the keys that it may have."""


def carry_out(session: Session, deployment: Deployment, request: Any, *, request_id: str | None = None) -> Answer:
    """Do `{"command": name, …}`. A wrong command changes nothing, and the answer is `{"error": …}`.

    The ledger keeps every command, in the transaction that changes something: with who did it and why, as they say,
    the ARN of `"caller"`, and the invocation's request id. Of one that is refused it keeps the refusal.
    """
    caller = None
    if isinstance(request, Mapping) and "caller" in request:
        request, caller = {key: value for key, value in request.items() if key != "caller"}, request["caller"]
    try:
        command, keys = read_request(request, "command", COMMANDS)
    except EventError as refusal:
        return {"error": str(refusal)}
    asked = {"command": request["command"], "caller": _text(caller), "request_id": request_id, **_told(keys)}
    try:
        with session.begin():
            answer = command(Control(session, deployment), **keys)
            about = _of(answer, deployed_name(deployment, keys.get("job")))
            session.add(CommandRecord(**asked, **about, result=_result(answer)))
        return answer
    except EventError as refusal:
        with session.begin():
            named = {"job": deployed_name(deployment, keys.get("job"))}
            session.add(CommandRecord(**asked, **named, result=printable(f"refused: {refusal}")))
        return {"error": str(refusal)}
    except (DBAPIError, OSError) as cause:
        return without_database(request, cause)


def _told(keys: Mapping[str, Any]) -> dict[str, Any]:
    """What a command says of itself, for the trail."""
    others = {key: _text(value) for key, value in keys.items() if key not in ("by", "reason")}
    return {"by": _text(keys.get("by")), "reason": _text(keys.get("reason")), "arguments": others}


def _of(answer: Answer, job: str | None) -> dict[str, Any]:
    """The job, and the run, that a command has changed. Without either it was about all jobs."""
    run = answer.get("run")
    return {"job": job, "run_id": None} if run is None else {"job": run["job"], "run_id": run["run_id"]}


def _result(answer: Answer) -> str:
    """What a command has come to, for the trail."""
    before = answer.get("replaced")
    if not before:
        return "done"
    end = f" until {before['until']}" if "until" in before else ""
    return printable(f"done; it replaced the pause by {before['by']}{end}: {before['reason']}")


def _text(value: Any) -> Any:
    """A value as the trail keeps it: of a text, no more than can be read."""
    if value is None or isinstance(value, bool):
        return value
    return printable(value) if isinstance(value, str) else printable(repr(value))


def deployed_name(deployment: Deployment, job: Any) -> str | None:
    """The name, if a deployed job has it."""
    return job if isinstance(job, str) and any(job in jobs for jobs in deployment.understood()) else None


def _not_paused(registered: RegisteredJob, of_all: Pause | None) -> str:
    """Why a job cannot be resumed."""
    if of_all is not None:
        return f"job {registered.name} is not paused by itself, and {of_all}. Resume all jobs to end that"
    if registered.paused_at is not None and registered.paused_until is not None:
        ended = iso(registered.paused_until.astimezone(dt.UTC))
        return f"job {registered.name} is not paused: its pause by {registered.paused_by} ended by itself at {ended}"
    return f"job {registered.name} is not paused"


def _not_all_paused(jobs: Sequence[str]) -> str:
    """Why the pause of all jobs cannot be ended."""
    others = f". Paused by themselves: {', '.join(jobs)}. Resume each by its name" if jobs else ""
    return f"there is no pause of all jobs{others}"


def _check_held(records: Mapping[str, DialRecord], name: str) -> None:
    """Refuse to release what nobody holds.

    Raises:
        EventError: so it is.
    """
    if (own := records.get(name)) is not None and own.held:
        return
    if name != EVERY_JOB and (of_all := records.get(EVERY_JOB)) is not None and of_all.held:
        held = f"all jobs are, by {of_all.changed_by}: {of_all.reason}. Release all jobs to end that"
        raise EventError(f"job {name} is not held by itself, and {held}")
    raise EventError("all jobs are not held" if name == EVERY_JOB else f"job {name} is not held")


def _later(key: str, value: Any, clock: dt.datetime) -> dt.datetime:
    instant = read_instant(key, value)
    if instant <= clock:
        raise EventError(f"{key} must lie in the future; got {shown(value)}")
    return instant


def _words(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise EventError(f"say {key}: the ledger keeps who did this, and why")
    return printable(value)
