import datetime as dt
import uuid

import pytest
from sqlalchemy.orm import Session

from functions.productivity.goal_deadlines import job
from nightshift.models import Goal
from tests.integration.conftest import Invoke
from tests.integration.jobs.people import person, told, utc

NINE = utc("2026-03-02 09:00")
TODAY = NINE.date()


def goal(session: Session, user_id: uuid.UUID, days: int | None, title: str = "Walk", **more: object) -> Goal:
    due_on = None if days is None else TODAY + dt.timedelta(days=days)
    found = Goal(user_id=user_id, title=title, due_on=due_on, **more)
    session.add(found)
    session.commit()
    return found


@pytest.mark.parametrize(
    ("days", "kinds"),
    [
        (-1, []),
        (0, []),
        (1, [("goal_deadline", "email"), ("goal_deadline", "in_app")]),
        (2, []),
        (6, []),
        (7, [("goal_planning", "in_app")]),
        (13, [("goal_planning", "in_app")]),
        (14, []),
        (None, []),
    ],
)
def test_the_day_before_and_the_week_after_next_are_told(
    invoke_job: Invoke, session: Session, days: int | None, kinds: list[tuple[str, str]]
) -> None:
    goal(session, person(session, "ann"), days)

    counters = invoke_job(job, at=NINE)["counters"]

    assert told(session) == [("ann", *kind) for kind in kinds]
    assert counters["goals_tomorrow"] == (1 if days == 1 else 0)
    assert counters["goals_next_week"] == (1 if days in (7, 13) else 0)
    assert counters["emails"] == (1 if days == 1 else 0)
    assert counters["in_app"] == len(kinds) - counters["emails"]
