"""Whenever the demonstration runs, every job finds something to do."""

import datetime as dt
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from local.demo import run_for
from local.example import dataset
from nightshift.declaration import registry
from tests.conftest import NewDatabase
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import utc

USERS = 500
BY_THE_CLOCK = {
    "break-reminders",
    "daily-check",
    "goal-deadlines",
    "inactive-users",
    "monthly-progress-report",
    "weekly-review",
}

MOMENTS = (
    "2026-01-01 00:00",  # a Thursday
    "2026-02-16 08:59",  # a Monday, a minute before people are at work
    "2026-03-31 19:20",  # a Tuesday
)
FOR_THE_CLOCK = (
    "2026-02-15 18:59",  # a Sunday, a minute before the week is reviewed
    "2026-03-01 09:00",  # a Sunday, the first of the month
)
"""Moments that are like the others to a job whose work does not depend on the clock."""


@pytest.fixture
def moment(request: pytest.FixtureRequest) -> dt.datetime:
    return utc(request.param)


@pytest.fixture
def database(moment: dt.datetime, new_database: NewDatabase, migrated: str) -> Iterator[Engine]:
    """The demonstration's data as of the moment."""
    with new_database(template=migrated) as engine:
        dataset.load(engine, now=moment, users=USERS)
        yield engine


@pytest.mark.usefixtures(*sorted({need for found in registry().values() for need in found.job.needs}))
@pytest.mark.parametrize(
    ("moment", "every"),
    [*((moment, True) for moment in MOMENTS), *((moment, False) for moment in FOR_THE_CLOCK)],
    indirect=["moment"],
)
def test_every_job_finds_something_to_do(moment: dt.datetime, every: bool, invoke_job: Invoke) -> None:
    """In the order in which the demonstration runs them."""
    jobs = [found.job for name, found in registry().items() if every or name in BY_THE_CLOCK]
    due = {job.name: at for job in jobs if (at := run_for(job, moment))}
    in_order = sorted(jobs, key=lambda job: due.get(job.name, dt.datetime.min.replace(tzinfo=dt.UTC)))

    results = [(job, invoke_job(job, at=due.get(job.name, moment))) for job in in_order]

    assert due.keys() == BY_THE_CLOCK
    assert [result for _, result in results if result["outcome"] != "succeeded"] == []
    assert [job.name for job, result in results if not job.changed(result["counters"])] == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (
            "2026-03-01 08:59",
            {
                "break-reminders": "2026-02-27 17:50",
                "daily-check": "2026-02-28 18:00",
                "goal-deadlines": "2026-02-28 09:00",
                "inactive-users": "2026-02-28 10:00",
                "monthly-progress-report": "2026-02-01 09:00",
                "weekly-review": "2026-02-22 19:00",
            },
        ),
        (
            "2026-03-02 10:00",
            {
                "break-reminders": "2026-03-02 10:00",
                "daily-check": "2026-03-01 18:00",
                "goal-deadlines": "2026-03-02 09:00",
                "inactive-users": "2026-03-02 10:00",
                "monthly-progress-report": "2026-03-01 09:00",
                "weekly-review": "2026-03-01 19:00",
            },
        ),
    ],
)
def test_the_last_time_at_which_a_job_was_due_in_utc(now: str, expected: dict[str, str]) -> None:
    found = {name: run_for(found.job, utc(now)) for name, found in registry().items()}
    assert {name: at for name, at in found.items() if at} == {name: utc(at) for name, at in expected.items()}
