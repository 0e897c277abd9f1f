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

    def resume(self, *, job: Any = None) -> Answer:
        """Resume the job: its occurrences run again, from the next one on."""
        name = self._job(job)
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
    "resume": (Control.resume, frozenset({"job"})),
    "cancel": (Control.cancel, frozenset({"run_id", "by", "reason"})),
    "redrive": (Control.redrive, frozenset({"run_id", "by", "override_cap", "reason"})),
}
"""Every command by its name, with the keys that it may have."""


def carry_out(session: Session, deployment: Deployment, request: Any) -> Answer:
    """Do `{"command": name, …}`. A wrong command changes nothing, and the answer is `{"error": …}`."""
    try:
        command, keys = read_request(request, "command", COMMANDS)
        with session.begin():
            return command(Control(session, deployment), **keys)
    except EventError as refusal:
        return {"error": str(refusal)}
    except (DBAPIError, OSError) as cause:
        return {"error": f"the database does not answer: {describe(cause)}"}


def _words(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise EventError(f"say {key}: the ledger keeps who did this, and why")
    return printable(value)
