"""How a job's run is started by a person: its function is invoked, and the run can be found while that goes on.

The answer needs an open connection; the run does not. It stands in the ledger from its first moment, under an id that
is known beforehand. So whoever loses the connection finds it again, and whoever leaves can say which it is.
"""

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.aws import FunctionError
from cli.deployment import Operator
from cli.times import parse

RUNS_SEARCHED = 500


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Start:
    """One call of a job's function. What fails is not tried again behind the back of whoever waits for it."""

    operator: Operator
    job: str
    payload: Mapping[str, Any]
    run_id: str = ""
    """The run's id. That of an occurrence which has a run already is known once it was found."""
    answer: dict[str, Any] | None = None
    """What the function has returned."""
    error: Exception | None = None
    """What the call has ended with instead."""
    found: dict[str, Any] | None = None
    """The run as it was found last."""
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.run_id = self.payload.get("run_id") or self.run_id or new_id()

    def invoke(self) -> dict[str, Any]:
        """Invoke the function, wait for its end and return its result.

        Raises:
            AwsError, FunctionError.
        """
        payload = {**self.payload, "once": True}
        if "run_id" in payload:
            return self.operator.invoke(self.job, payload)
        try:
            return self.operator.invoke(self.job, {**payload, "id": self.run_id})
        except FunctionError as error:
            if error.kind == "EventError" and "unknown key 'id'" in str(error):
                # What is deployed is older than this command, and has changed nothing.
                return self.operator.invoke(self.job, payload)
            raise

    def begin(self) -> None:
        """Invoke the function in a thread. Nobody waits for it at the end: what runs on AWS goes on."""
        threading.Thread(target=self._carry_out, name=f"nightshift-run-{self.run_id}", daemon=True).start()

    def ended(self, seconds: float) -> bool:
        """Whether the call has ended, or ends within so many seconds."""
        return self._ended.wait(seconds)

    def find(self) -> dict[str, Any] | None:
        """Everything about the run; None as long as the ledger does not have it.

        Raises:
            AwsError, FunctionError, RefusedError.
        """
        self.found = self._find(self.operator.at_the_desk()) or self.found
        return self.found

    def _find(self, desk: Operator) -> dict[str, Any] | None:
        if (found := desk.run(self.run_id)) is not None or not self._may_be_there_already:
            return found
        occurrence = parse(self.payload["scheduled_for"])
        for run in desk.ask("runs", job=self.job, limit=RUNS_SEARCHED)["runs"]:
            if (run["mode"], run["forced"]) == ("apply", False) and parse(run["scheduled_for"]) == occurrence:
                self.run_id = run["run_id"]
                return desk.run(self.run_id)
        return None

    @property
    def _may_be_there_already(self) -> bool:
        return "scheduled_for" in self.payload and not (self.payload.get("dry_run") or self.payload.get("force"))

    def _carry_out(self) -> None:
        try:
            self.answer = self.invoke()
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for the end
            self.error = error
        finally:
            self._ended.set()
