"""Ages and instants beyond the calendar: refused in words where they are given, and no traceback in a run."""

import datetime as dt
import uuid
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given, strategies as st

from cli.times import parse
from nightshift import Delete, Job, Parameter, Run, SettingError, years
from nightshift.declaration import iso
from nightshift.errors import EventError
from nightshift.runtime import read_event
from tests.ground.functions.market._tables import Cart

CEILINGS = [("minutes", 52_596_000), ("hours", 876_600), ("days", 36_525), ("months", 1_200), ("years", 100)]


def run(at: dt.datetime, **parameters: int) -> Run:
    return Run(id=uuid.UUID(int=1), job="forget-carts", scheduled_for=at, parameters=parameters)


@pytest.mark.parametrize(("unit", "most"), CEILINGS)
def test_a_hundred_years_are_the_ceiling_of_every_time(unit: Any, most: int) -> None:
    retention = Parameter("retention", 7, unit)
    assert retention.parse(most) == most
    for beyond in (most + 1, str(most + 1), 999_999_999, 10**20):
        with pytest.raises(
            SettingError, match=rf"^retention must be at most {most}, which is 100 years; got {beyond}$"
        ):
            retention.parse(beyond)
    first = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert first - dt.timedelta(days=36_526) <= run(first, retention=most).ago(retention) < first


@pytest.mark.parametrize("unit", ["rows", "items", "percent"])
def test_what_postgresql_cannot_count_is_the_ceiling_of_every_other_number(unit: Any) -> None:
    assert Parameter("most", 7, unit).parse(2**63 - 1) == 2**63 - 1
    with pytest.raises(SettingError, match="most must be at most 9223372036854775807; got 9223372036854775808"):
        Parameter("most", 7, unit).parse(2**63)


@pytest.mark.parametrize("value", ["--5", "9" * 5000, "5-", "-", "१०x"])
def test_a_text_that_python_cannot_read_as_a_number_is_refused_in_words(value: str) -> None:
    with pytest.raises(SettingError, match=r"^retention must be a whole number of days, at least 1; got .{1,90}$"):
        Parameter("retention", 7, "days").parse(value)


@pytest.mark.parametrize(
    "age",
    [relativedelta(years=9_000), relativedelta(days=10**12), relativedelta(years=10**30), dt.timedelta.max, years(100)],
)
def test_a_cut_off_never_runs_off_the_calendar(age: Any) -> None:
    begin = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
    assert run(dt.datetime(50, 1, 1, tzinfo=dt.UTC)).ago(age) == begin
    assert iso(begin) == "0001-01-01T00:00:00Z"


def test_a_parameter_of_a_run_from_before_the_ceilings_does_not_run_off_it_either() -> None:
    retention = Parameter("retention", 7, "days")
    now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    assert run(now, retention=999_999).ago(retention) == dt.datetime(1, 1, 1, tzinfo=dt.UTC)


job = Job(
    name="forget-carts",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(
        Delete(
            Cart,
            older_than=Parameter("retention_days", 7, "days"),
            measured_by=Cart.updated_at,
        ),
    ),
)


@pytest.mark.parametrize(
    "instant",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
    ],
)
def test_an_occurrence_outside_the_calendar_of_eventbridge_is_refused(instant: str) -> None:
    with pytest.raises(EventError, match=r"^scheduled_for must lie in the years 1970 to 2199; got '.*'$"):
        read_event(job, {"scheduled_for": instant}, request_id=None, configured={})
    with pytest.raises(EventError, match=r"^time must lie in the years 1970 to 2199; got '.*'$"):
        read_event(job, {"detail-type": "Scheduled Event", "time": instant}, request_id=None, configured={})


@pytest.mark.parametrize("instant", ["10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z"])
def test_an_occurrence_that_no_calendar_has_is_refused(instant: str) -> None:
    with pytest.raises(EventError, match="scheduled_for must be a time like 2026-03-02T09:00:00Z; got"):
        read_event(job, {"scheduled_for": instant}, request_id=None, configured={})


@given(at=st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=14))])), days=st.integers())
def test_no_occurrence_and_no_retention_ends_in_a_traceback(at: dt.datetime, days: int) -> None:
    event = {"scheduled_for": at.isoformat(), "parameters": {"retention_days": days}}
    try:
        asked = read_event(job, event, request_id=None, configured={})
    except (EventError, SettingError):
        return
    assert asked.scheduled_for is not None
    assert job.cutoff(run(asked.scheduled_for, **asked.parameters)) is not None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_an_operators_time_outside_every_calendar_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="lies outside the calendar"):
        parse(text)
