"""What an operator changes in the ledger: pause and resume a job, cancel a run, redrive a failed run.

Each answer shows the job or the run after the change, in the same form as `nightshift.operations.console`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.database import describe
from nightshift.declaration import Deployment
from nightshift.declaration.fields import shown
from nightshift.errors import EventError, printable
from nightshift.ledger import CommandRecord
from nightshift.operations.answers import Answer, deployed_job, find_run, pause_of, read_request, run_summary


@dataclass(frozen=True)
class Control:
    """Changes to one deployment's ledger, in the caller's transaction."""

    session: Session
    deployment: Deployment

    def pause(self, *, job: Any = None, by: Any = None, reason: Any = None) -> Answer:
        """Pause the job: its occurrences are settled as paused. Open runs continue. A person can still run the job."""
        name, who, why = self._job(job), _words("by", by), _words("reason", reason)
        registered = ledger.lock_job(self.session, name)
        registered.paused_at = ledger.database_clock(self.session)
        registered.paused_by, registered.pause_reason = who, why
        return {"job": name, "paused": pause_of(registered)}

    def resume(self, *, job: Any = None, by: Any = None, reason: Any = None) -> Answer:
        """Resume the job: its occurrences run again, from the next one on."""
        name, _, _ = self._job(job), _words("by", by), _words("reason", reason)
        registered = ledger.lock_job(self.session, name)
        registered.paused_at = registered.paused_by = registered.pause_reason = None
        return {"job": name, "paused": None}

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
        if not isinstance(override_cap, bool):
            raise EventError(f"override_cap must be true or false; got {shown(override_cap)}")
        deployed = self.deployment.understood()[0].get(found.job)
        if deployed is None or not deployed.enabled:
            lack = "is not deployed" if deployed is None else "is disabled by the deployment's settings"
            raise EventError(f"job {found.job} {lack}, so nobody could go on with its run: deploy or enable it first")
        override = {"by": who, "reason": _words("reason", reason)} if override_cap else None
        told = printable(f"redriven by {who}; before: {found.reason}")
        record = ledger.redrive(self.session, found.id, told, override=override)
        return {"run": run_summary(record)}

    def _job(self, name: Any) -> str:
        if isinstance(name, str) and name in self.deployment.understood()[1]:
            return name  # pausing it is what one may want just then
        return deployed_job(self.deployment, name).job.name


Command = Callable[..., Answer]

COMMANDS: Mapping[str, tuple[Command, frozenset[str]]] = {
    "pause": (Control.pause, frozenset({"job", "by", "reason"})),
    "resume": (Control.resume, frozenset({"job", "by", "reason"})),
    "cancel": (Control.cancel, frozenset({"run_id", "by", "reason"})),
    "redrive": (Control.redrive, frozenset({"run_id", "by", "override_cap", "reason"})),
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
            session.add(CommandRecord(**asked, **_of(answer), result="done"))
        return answer
    except EventError as refusal:
        with session.begin():
            named = {"job": deployed_name(deployment, keys.get("job"))}
            session.add(CommandRecord(**asked, **named, result=printable(f"refused: {refusal}")))
        return {"error": str(refusal)}
    except (DBAPIError, OSError) as cause:
        return {"error": f"the database does not answer: {describe(cause)}"}


def _told(keys: Mapping[str, Any]) -> dict[str, Any]:
    """What a command says of itself, for the trail."""
    others = {key: _text(value) for key, value in keys.items() if key not in ("by", "reason")}
    return {"by": _text(keys.get("by")), "reason": _text(keys.get("reason")), "arguments": others}


def _of(answer: Answer) -> dict[str, Any]:
    """The job, and the run, that a command has changed."""
    run = answer.get("run")
    return {"job": answer["job"], "run_id": None} if run is None else {"job": run["job"], "run_id": run["run_id"]}


def _text(value: Any) -> Any:
    """A value as the trail keeps it: of a text, no more than can be read."""
    if value is None or isinstance(value, bool):
        return value
    return printable(value) if isinstance(value, str) else printable(repr(value))


def deployed_name(deployment: Deployment, job: Any) -> str | None:
    """The name, if a deployed job has it."""
    return job if isinstance(job, str) and job in deployment.jobs() else None


def _words(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise EventError(f"say {key}: the ledger keeps who did this, and why")
    return printable(value)
