"""What the page has set in motion and nobody waits for: a function is invoked in a thread, as the command invokes it.

The browser may be closed, and Ctrl-C ends only the waiting: what runs on AWS goes on.
"""

import datetime as dt
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cli.aws import AwsError, FunctionError
from cli.deployment import Operator
from cli.refusals import RefusedError
from cli.running import failure
from cli.starting import Start

KEPT = 100
"""So many pieces of work are remembered."""


@dataclass
class Work:
    """One call of a job's function."""

    id: str
    job: str
    what: str
    """plan, run or redrive."""
    began: dt.datetime
    start: Start
    run_id: str | None = None
    """Once the ledger has it."""
    done: bool = False
    trouble: str | None = None
    """Why it did not go well, in words."""

    @property
    def words(self) -> str:
        """What it does, as a headline."""
        return {
            "plan": f"{self.job} is planned",
            "run": f"{self.job} is running",
            "redrive": f"{self.job} goes on",
        }[self.what]


class Works:
    """All that has been set in motion since the command was started."""

    def __init__(self, operator: Operator, now: Callable[[], dt.datetime]) -> None:
        self._operator = operator
        self._now = now
        self._works: dict[str, Work] = {}

    def __getitem__(self, id: str) -> Work:
        return self._works[id]

    def of_run(self, run_id: str) -> Work | None:
        """What has set a run in motion, and the last time it did, where that was the page."""
        return next((work for work in reversed(self._works.values()) if work.run_id == run_id), None)

    @property
    def open(self) -> list[Work]:
        return [work for work in self._works.values() if not work.done]

    def start(self, job: str, what: str, payload: Mapping[str, Any], *, run_id: str | None = None) -> Work:
        """Invoke a job's function. What fails is not tried again behind the back of whoever looks."""
        begun = Start(self._operator, job, payload)
        work = self._new(Work(secrets.token_urlsafe(9), job, what, self._now(), begun, run_id))
        self._in_a_thread(work, lambda: self._invoke(work))
        return work

    def find_run(self, work: Work) -> str | None:
        """The id of the run that a call has made, as soon as the ledger has it."""
        if work.run_id is None and not work.done and (found := work.start.find()) is not None:
            work.run_id = found["run_id"]
        return work.run_id

    def _new(self, work: Work) -> Work:
        self._works[work.id] = work
        for old in list(self._works.values())[:-KEPT]:
            if old.done:
                del self._works[old.id]
        return work

    def _in_a_thread(self, work: Work, call: Callable[[], None]) -> None:
        def carry_out() -> None:
            try:
                call()
            except (AwsError, RefusedError) as error:
                work.trouble = str(error)
            finally:
                work.done = True

        # Not waited for at the end: Ctrl-C ends the waiting, and not what runs on AWS.
        threading.Thread(target=carry_out, name=f"nightshift-web-{work.id}", daemon=True).start()

    def _invoke(self, work: Work) -> None:
        try:
            answer = work.start.invoke()
        except FunctionError as error:
            work.trouble = failure(work.job, error)
        else:
            work.run_id = answer["run_id"]
