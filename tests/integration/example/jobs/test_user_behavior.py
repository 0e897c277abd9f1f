import datetime as dt
import uuid

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from functions.productivity._figures import FIGURES
from functions.productivity.user_behavior import job
from nightshift.steps import MetricFinding, MetricRollup
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.activity import HOUR, figures, findings, store, timers
from tests.integration.example.jobs.conftest import DAY, MICROSECOND
from tests.integration.example.jobs.people import utc

AT = utc("2026-03-10 12:00")
START = AT - 6 * HOUR


def earlier(session: Session, n: int, key: str = "mean_minutes", *, shift: dt.timedelta = dt.timedelta(0)) -> None:
    """So many windows of the days before, at the same time: 24 and 26 in turn, so 25 with a deviation of 1."""
    for number in range(1, n + 1):
        start = START - number * DAY + shift
        store(session, "behavior_6h", start, start + 6 * HOUR, **{key: 24 if number % 2 else 26})


def test_six_hours_of_sessions_of_any_status_are_counted_together(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    for at in (START - MICROSECOND, START, AT - MICROSECOND, AT):
        timers(session, user_id, at, break_taken=True)
    timers(session, user_id, START + HOUR, 2, timer_type="focus", actual_seconds=0, planned_seconds=3000)
    timers(session, user_id, START + HOUR, status="running", actual_seconds=None)

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["sessions"], counters["anomalies"]) == (5, 0)
    data = figures(session, "behavior_6h", START)
    assert data.keys() == FIGURES["behavior_6h"].keys()
    assert (data["sessions"], data["timed_sessions"], data["mean_minutes"]) == (5, 4, 37.5)
    assert data["timer_types"] == {"pomodoro": 3, "focus": 2}
    assert (data["breaks"], data["mean_break_hour"]) == (2, 8.5)
    assert {hour: n for hour, n in enumerate(data["breaks_by_hour"]) if n} == {6: 1, 11: 1}


def test_an_empty_window_is_no_anomaly(invoke_job: Invoke, session: Session) -> None:
    earlier(session, 28)

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["sessions"], counters["anomalies"]) == (0, 0)
    data = figures(session, "behavior_6h", START)
    assert (data["mean_minutes"], data["mean_break_hour"]) == (None, None)


@pytest.mark.parametrize(("n", "anomalies"), [(9, 0), (10, 1)])
def test_fewer_than_ten_sessions_tell_nothing(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, n: int, anomalies: int
) -> None:
    timers(session, user_id, START, n, actual_seconds=180)
    timers(session, user_id, START, 5, status="running", actual_seconds=None)

    assert invoke_job(job, at=AT)["counters"]["anomalies"] == anomalies
    assert findings(session) == ({"session_length": (3, None, None, True)} if anomalies else {})


@pytest.mark.parametrize(
    ("seconds", "anomaly"), [(5 * 60, False), (5 * 60 - 1, True), (120 * 60, False), (120 * 60 + 1, True)]
)
def test_five_and_a_hundred_and_twenty_minutes_are_within_the_limits(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, seconds: int, anomaly: bool
) -> None:
    timers(session, user_id, START, 10, actual_seconds=seconds)

    invoke_job(job, at=AT)

    assert ("session_length" in findings(session)) == anomaly


@pytest.mark.parametrize(
    ("at", "breaks", "anomaly"),
    [
        ("2026-03-10 12:00", {6: 10}, False),
        ("2026-03-10 06:00", {5: 10}, True),
        ("2026-03-10 10:00", {5: 1, 6: 9}, True),
        ("2026-03-11 00:00", {21: 5, 23: 5}, False),
        ("2026-03-11 00:00", {21: 5, 23: 6}, True),
        ("2026-03-11 00:00", {18: 1, 23: 9}, True),
        ("2026-03-10 06:00", {5: 9}, False),
    ],
)
def test_the_hour_of_breaks_is_weighted_by_their_number(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, at: str, breaks: dict[int, int], anomaly: bool
) -> None:
    day = (utc(at) - MICROSECOND).replace(hour=0, minute=0, second=0, microsecond=0)
    for hour, n in breaks.items():
        timers(session, user_id, day + hour * HOUR, n, break_taken=True)
    timers(session, user_id, utc(at) - HOUR, 20)

    invoke_job(job, at=at + ":00Z")

    assert ("break_timing" in findings(session)) == anomaly


def test_the_mean_hour_of_breaks_is_weighted(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    timers(session, user_id, START, 9, break_taken=True)
    timers(session, user_id, START + 5 * HOUR, 1, break_taken=True)

    invoke_job(job, at=AT)

    assert figures(session, "behavior_6h", START)["mean_break_hour"] == 6.5


@pytest.mark.parametrize(("minutes", "anomaly"), [(22, False), (21.9, True), (28, False), (28.1, True)])
def test_more_than_three_deviations_from_the_usual_mean_is_an_anomaly(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, minutes: float, anomaly: bool
) -> None:
    earlier(session, 8)
    timers(session, user_id, START, 10, actual_seconds=round(60 * minutes))

    invoke_job(job, at=AT)

    assert findings(session) == ({"session_length": (minutes, 25, None, True)} if anomaly else {})


def test_the_usual_hour_of_breaks_is_watched_as_well(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    for number in range(1, 9):
        start = START - number * DAY
        store(session, "behavior_6h", start, start + 6 * HOUR, mean_break_hour=9.1 if number % 2 else 8.9)
    timers(session, user_id, START + 4 * HOUR, 10, break_taken=True)

    invoke_job(job, at=AT)

    assert findings(session) == {"break_timing": (10, 9, None, True)}


def test_seven_windows_are_too_few_to_tell_what_is_usual(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    earlier(session, 7)
    earlier(session, 28, shift=6 * HOUR)  # another time of the day
    timers(session, user_id, START, 10, actual_seconds=60 * 60)

    assert invoke_job(job, at=AT)["counters"]["anomalies"] == 0


def test_empty_windows_count_among_the_last_28_but_tell_nothing(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    earlier(session, 7)
    for number in range(8, 60):
        start = START - number * DAY
        store(
            session,
            "behavior_6h",
            start,
            start + 6 * HOUR,
            mean_minutes=24 if number > 28 else "many" if number % 2 else None,
        )
    timers(session, user_id, START, 10, actual_seconds=60 * 60)

    assert invoke_job(job, at=AT)["counters"]["anomalies"] == 0


def test_without_any_deviation_there_is_no_telling(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    for number in range(1, 29):
        start = START - number * DAY
        store(session, "behavior_6h", start, start + 6 * HOUR, mean_minutes=25)
    timers(session, user_id, START, 10, actual_seconds=60 * 60)

    assert invoke_job(job, at=AT)["counters"]["anomalies"] == 0


def test_only_the_last_28_windows_tell_what_is_usual(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    earlier(session, 28)
    for number in (-1, 0, *range(29, 40)):  # what a run of old leaves of its own time and later tells nothing either
        start = START - number * DAY
        store(session, "behavior_6h", start, start + 6 * HOUR, mean_minutes=100)
    store(session, "perf_1h", START - DAY, START - DAY + HOUR, mean_minutes=100)
    timers(session, user_id, START, 10, actual_seconds=60 * 60)

    invoke_job(job, at=AT)

    assert findings(session) == {"session_length": (60, 25, None, True)}


def test_a_run_again_finds_nothing_twice(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    timers(session, user_id, START, 10, actual_seconds=60)
    assert invoke_job(job, at=AT)["counters"]["written"] == 2

    assert invoke_job(job, {"force": True}, at=AT)["counters"]["written"] == 0

    assert session.scalar(select(func.count()).select_from(MetricFinding)) == 1
    assert session.scalar(select(func.count()).select_from(MetricRollup)) == 1


def test_figures_name_nobody(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    timers(session, user_id, START, 10, actual_seconds=60)

    invoke_job(job, at=AT)

    assert str(user_id) not in str(figures(session, "behavior_6h", START))
