"""The final failure of a critical job is an alert of the application."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import Execution, Function, Job
from nightshift.errors import RunFailedError
from tests.integration.conftest import Invoke, scheduled


def test_the_final_failure_of_a_critical_job_raises_one_alert(invoke_job: Invoke, session: Session) -> None:
    def work(execution: Execution) -> None:
        raise ValueError("broken")

    step = Function(name="work", apply=work, plan=lambda session, run: [], counters=("done",))
    job = Job(name="work", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), critical=True)
    for at in ("2026-03-01T02:00:00Z", "2026-03-02T02:00:00Z"):
        for _ in range(3):
            with pytest.raises(RunFailedError):
                invoke_job(job, scheduled(at))
    alert = session.execute(text("select * from nightshift.alerts")).one()
    assert (alert.rule, alert.severity, alert.occurrences) == ("job_failure", "critical", 2)
