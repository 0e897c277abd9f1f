import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from nightshift import DeclarationError, Job
from nightshift.declaration import Run
from nightshift.ledger import RunRecord
from nightshift.outbox import TICK, LocalMoment, Notification, People, Via, message, notice_kinds, tell_operators, write
from nightshift.steps import Message, Notify
from nightshift.steps.notify import WHAT_ERRORS_ARE
from tests.ground.functions.market._tables import Customer
from tests.ground.people import customer, outbox, told, utc
from tests.ground.world import shop_alone
from tests.integration.conftest import Invoke

NOON = utc("2026-03-02 12:00")
RUN = Run(id=RunRecord.id, job="test", scheduled_for=NOON)  # type: ignore[arg-type]
QUARTER = dt.timedelta(minutes=15)


def hello(run: Run, people: People) -> Select[Any]:
    return message(
        people.c.recipient, key=func.concat_ws("|", people.c.recipient, people.c.local_date), title="Hello", body=""
    )


def job_at(moment: LocalMoment | None, *via: Via, schedule: str = TICK) -> Job:
    found = Message(
        kind="cart_waiting",
        to=hello,
        via=via or (Via("email", "general", counter="emails"),),
        matched="matched",
        suppressed="suppressed",
    )
    step = Notify(at=moment, messages=(found,))
    return Job(name="hello", kind="notification", schedule=schedule, audited=False, steps=(step,))


with shop_alone():  # which has the kind
    NINE = job_at(LocalMoment(dt.time(9)))
    AT_ONCE = job_at(None)


def instants(session: Session) -> list[dt.datetime]:
    session.rollback()
    return list(session.scalars(select(Notification.created_at).order_by(Notification.created_at)))


@pytest.mark.parametrize(
    ("wants", "channels"),
    [
        ({}, ["email", "in_app", "push"]),
        ({"general": True, "email": True}, ["email", "in_app", "push"]),
        ({"general": None}, ["email", "in_app", "push"]),
        ({"general": False}, ["in_app", "push"]),
        ({"email": False}, ["in_app", "push"]),
        ({"push": False}, ["email", "in_app"]),
        ({"email": False, "push": False}, ["in_app"]),
        ({"weekly_report": False}, ["email", "in_app", "push"]),
    ],
)
def test_only_an_explicit_false_blocks_and_only_its_channel(
    invoke_job: Invoke, session: Session, wants: dict[str, Any], channels: list[str]
) -> None:
    customer(session, "ann", wants=wants, channels=["in_app", "email", "push"])
    job = job_at(None, Via("in_app"), Via("email", "general", counter="emails"), Via("push", counter="pushes"))

    counters = invoke_job(job, at=NOON)["counters"]

    assert [channel for _, _, channel in told(session)] == channels
    assert (counters["emails"], counters["pushes"]) == (channels.count("email"), channels.count("push"))
    assert (counters["matched"], counters["suppressed"]) == (1, 3 - len(channels))


def test_nobody_is_told_by_a_channel_that_does_not_reach_them(invoke_job: Invoke, session: Session) -> None:
    customer(session, "ann", channels=["in_app"])
    job = job_at(None, Via("in_app"), Via("email", counter="emails"), Via("push", counter="pushes"))

    counters = invoke_job(job, at=NOON)["counters"]

    assert [channel for _, _, channel in told(session)] == ["in_app"]
    assert (counters["matched"], counters["suppressed"]) == (1, 0)


@pytest.mark.parametrize("job", [NINE, AT_ONCE])
def test_who_is_gone_gets_nothing_on_any_channel(invoke_job: Invoke, session: Session, job: Job) -> None:
    customer(session, "ann", left_at=NOON)

    counters = invoke_job(job, at=utc("2026-03-02 09:00"))["counters"]

    assert (outbox(session), counters["matched"]) == ([], 0)


@pytest.mark.parametrize(
    ("start", "end", "zone", "at", "expected"),
    [
        ("22:00", "07:00", "UTC", "2026-03-02 21:59", "2026-03-02 21:59"),
        ("22:00", "07:00", "UTC", "2026-03-02 22:00", "2026-03-03 07:00"),
        ("22:00", "07:00", "UTC", "2026-03-03 06:59", "2026-03-03 07:00"),
        ("22:00", "07:00", "UTC", "2026-03-03 07:00", "2026-03-03 07:00"),
        ("12:00", "13:30", "UTC", "2026-03-02 12:15", "2026-03-02 13:30"),
        ("12:00", "12:00", "UTC", "2026-03-02 12:15", "2026-03-02 12:15"),
        ("22:00", "07:00", "Asia/Kathmandu", "2026-03-02 17:00", "2026-03-03 01:15"),
        ("22:00", "07:00", "Europe/Berlin", "2026-03-28 23:00", "2026-03-29 05:00"),
        ("22:00", "02:30", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 01:30"),  # skipped: half an hour late
        ("22:00", "02:30", "Europe/Berlin", "2026-10-25 00:00", "2026-10-25 01:30"),  # comes twice: the second time
        ("00:30", "07:00", "Africa/Cairo", "2026-04-23 22:29", "2026-04-24 04:00"),  # 01:29, after a skipped midnight
        ("22:00", "07:00", "Asia/Kolkata", "2026-03-02 16:29", "2026-03-02 16:29"),
        ("22:00", "07:00", "Asia/Kolkata", "2026-03-02 16:30", "2026-03-03 01:30"),
        ("22:00", None, "UTC", "2026-03-02 23:00", "2026-03-02 23:00"),
    ],
)
def test_quiet_hours_move_the_time_to_their_end_in_the_person_s_zone(
    invoke_job: Invoke, session: Session, start: str, end: str | None, zone: str, at: str, expected: str
) -> None:
    quiet = {"quiet_start": dt.time.fromisoformat(start), "quiet_end": dt.time.fromisoformat(end) if end else None}
    customer(session, "ann", timezone=zone, **quiet)

    invoke_job(AT_ONCE, at=utc(at))

    (row,) = outbox(session)
    assert (row.scheduled_for, row.created_at) == (utc(expected), utc(at))


def test_a_second_notice_with_the_same_key_is_no_row_and_no_error(invoke_job: Invoke, session: Session) -> None:
    customer(session, "ann")

    plans = [invoke_job(AT_ONCE, {"dry_run": True}, at=NOON)["plan"]["steps"]]
    first = invoke_job(AT_ONCE, at=NOON)["counters"]
    plans.append(invoke_job(AT_ONCE, {"dry_run": True}, at=NOON + QUARTER)["plan"]["steps"])
    second = invoke_job(AT_ONCE, at=NOON + QUARTER)["counters"]

    assert (first["emails"], second["emails"], second["matched"]) == (1, 0, 1)
    assert second["quarantined"] == 0
    assert [(step["rows"], len(step["sample"])) for (step,) in plans] == [(1, 1), (0, 0)]
    assert len(outbox(session)) == 1


REFUSING = """
    create function refuse() returns trigger language plpgsql as $$ begin
        if new.channel = 'email' and exists (
            select from customers where name = 'eve' and id::text = new.recipient
        ) then raise 'not %', new.title using errcode = '55000'; end if; return new; end $$;
    create trigger refuse before insert on nightshift.notifications for each row execute function refuse();
"""


@pytest.mark.parametrize("moment", [None, LocalMoment(dt.time(9))], ids=["at once", "at nine"])
def test_a_notice_that_is_refused_stops_no_other(
    invoke_job: Invoke, session: Session, moment: LocalMoment | None
) -> None:
    ids = {name: customer(session, name) for name in ("ann", "bob", "eve", "joe", "zoe")}
    session.execute(text(REFUSING))
    session.commit()
    job = job_at(moment, Via("in_app", counter="shown"), Via("email", "general", counter="emails"))

    result = invoke_job(job, at="2026-03-02T09:00:00Z")

    counters = result["counters"]
    assert (result["outcome"], counters["quarantined"], counters["matched"]) == ("succeeded", 1, 5)
    assert (counters["shown"], counters["emails"]) == (5, 4)
    words = "a trigger or function of the database refuses it, in the function refuse (SQLSTATE 55000)"
    assert result["errors"] == [f"nightshift.notifications:{ids['eve']}|2026-03-02|email: {words}"]


def test_a_person_about_whom_a_message_cannot_be_made_is_left_out_alone(invoke_job: Invoke, session: Session) -> None:
    for name in ("ann", "eve", "joe", "zoe"):
        customer(session, name)
    bob = customer(session, "bob", wants={"general": "perhaps"})

    result = invoke_job(AT_ONCE, at=NOON)

    counters = result["counters"]
    assert (counters["quarantined"], counters["matched"], counters["emails"]) == (1, 4, 4)
    assert result["errors"] == [f"cart_waiting:{bob}: a text is no value of the type boolean (SQLSTATE 22P02)"]


def test_a_count_that_cannot_be_made_costs_no_notice(invoke_job: Invoke, session: Session) -> None:
    customer(session, "ann")
    step = replace(
        AT_ONCE.steps[0],  # type: ignore[type-var]
        counting={
            "halves": lambda run, people: select(people.c.recipient).where(1 / (func.length(people.c.name) - 3) > 0)
        },
    )

    result = invoke_job(replace(AT_ONCE, steps=(step,)), at=NOON)

    assert (result["counters"]["emails"], result["counters"]["quarantined"]) == (1, 1)
    assert result["errors"] == ["the counter halves: a division by zero (SQLSTATE 22012)"]


def test_a_plan_says_how_many_rows_there_would_be_and_writes_none(invoke_job: Invoke, session: Session) -> None:
    ann, _ = customer(session, "ann"), customer(session, "bob", wants={"general": False})
    for job, at in ((NINE, "2026-03-02 09:00"), (AT_ONCE, "2026-03-02 09:00")):
        result = invoke_job(job, {"dry_run": True}, at=utc(at))
        (step,) = result["plan"]["steps"]
        assert (step["rows"], step["sample"]) == (1, [f"{ann}|2026-03-02|email"])
    assert outbox(session) == []


def test_write_and_tell_operators_serve_jobs_of_their_own_making(session: Session) -> None:
    """GIVEN a few of all THEN one statement tells them, in the caller's transaction."""
    customer(session, "ann", seen_at=NOON)
    customer(session, "bob", seen_at=NOON, timezone="Nowhere/Land")
    customer(session, "eve")
    key = func.concat_ws("|", "x", Customer.id)
    seen = message(Customer.id, key=key, title="T", body="B", data={"rule": "x"}).where(Customer.seen_at.is_not(None))

    written = write(session, RUN, "shop_alarm", seen, [Via("email")])
    first = tell_operators(session, RUN, "shop_alarm", key="x", title="T", body="B", data={"job": "x"})
    again = tell_operators(session, RUN, "shop_alarm", key="x", title="T", body="B", data={"job": "x"})

    assert (written.matched, written.by_channel["email"], written.zone_errors) == (2, 2, 1)
    assert (first, again) == (True, False)
    session.commit()
    assert [(row.channel, row.kind, row.data) for row in outbox(session) if row.channel == "ops"] == [
        ("ops", "shop_alarm", {"job": "x"})
    ]
    assert told(session) == [("ann", "shop_alarm", "email"), ("bob", "shop_alarm", "email")]


def test_operators_can_be_told_the_text_of_any_error(session: Session) -> None:
    error = "a\x00b\ud800c " + 300_000 * "x"

    assert tell_operators(
        session, RUN, key="odd", title=error, body=f"Look:\n{error}", data={"reason": error, "all": [{"why": error}]}
    )

    session.flush()
    notice = session.scalars(select(Notification)).one()
    texts = (notice.title, *notice.body.split("\n"), notice.data["reason"], notice.data["all"][0]["why"])
    assert [text[:14] for text in texts if text != "Look:"] == 4 * ["a\\x00b\\ud800c "]
    assert max(map(len, texts)) <= 2_048


def test_a_declaration_that_cannot_work_is_refused() -> None:
    with pytest.raises(DeclarationError, match="birthday"):
        Message(kind="birthday", to=hello, via=(Via("email"),))
    with pytest.raises(DeclarationError, match="tell_operators"):
        Message(kind="shop_alarm", to=hello, via=(Via("ops"),))
    assert set(notice_kinds()) == {"operators", "cart_waiting", "shop_alarm"}


# Local time


@pytest.mark.parametrize(
    ("zone", "day", "due"),
    [
        ("UTC", "2026-03-02", "09:00"),
        ("Asia/Kolkata", "2026-03-02", "03:30"),
        ("Asia/Kathmandu", "2026-03-02", "03:15"),
        ("Australia/Eucla", "2026-03-02", "00:15"),
        ("America/St_Johns", "2026-03-02", "12:30"),
        ("Europe/Berlin", "2026-03-28", "08:00"),
        ("Europe/Berlin", "2026-03-29", "07:00"),  # the clocks went forward that night
        ("Europe/Berlin", "2026-10-24", "07:00"),
        ("Europe/Berlin", "2026-10-25", "08:00"),  # and back
        ("Australia/Lord_Howe", "2026-04-04", "22:30"),  # by half an hour
    ],
)
def test_nine_o_clock_comes_once_a_day_in_every_zone(
    invoke_job: Invoke, session: Session, zone: str, day: str, due: str
) -> None:
    """GIVEN a tick each quarter around it THEN exactly the one at 9:00 local time tells the person."""
    customer(session, "ann", timezone=zone)
    moment = utc(f"{day} {due}")

    counts = [invoke_job(NINE, at=moment + n * QUARTER)["counters"]["emails"] for n in (-1, 0, 1)]

    assert counts == [0, 1, 0]


@pytest.mark.parametrize(
    ("at", "local_date"),
    [("2026-03-29 01:30", "2026-03-29"), ("2026-10-25 01:30", "2026-10-25")],
)
def test_a_time_that_does_not_exist_or_comes_twice_comes_once(
    invoke_job: Invoke, session: Session, at: str, local_date: str
) -> None:
    """GIVEN 02:30 in Berlin, skipped in March and doubled in October THEN one notice for the date, in the night."""
    ann = customer(session, "ann", timezone="Europe/Berlin")
    job = job_at(LocalMoment(dt.time(2, 30)))
    around = [utc(at) + n * QUARTER for n in range(-8, 9)]

    counts = [invoke_job(job, at=tick)["counters"]["emails"] for tick in around]

    assert sum(counts) == 1
    assert [row.dedupe_key for row in outbox(session)] == [f"{ann}|{local_date}|email"]


def test_a_lost_tick_loses_nobody_and_an_outage_wakes_nobody_late(invoke_job: Invoke, session: Session) -> None:
    customer(session, "ann")
    customer(session, "bob", timezone="Asia/Dubai")  # 9:00 is 05:00 UTC

    invoke_job(NINE, at=utc("2026-03-02 04:00"))
    invoke_job(NINE, at=utc("2026-03-02 10:59"))

    assert [name for name, *_ in told(session)] == ["ann"]


def test_the_window_begins_after_the_last_run_and_looks_back_two_hours_at_most(
    invoke_job: Invoke, session: Session
) -> None:
    customer(session, "ann")
    invoke_job(NINE, at=utc("2026-03-02 08:45"))
    assert invoke_job(NINE, at=utc("2026-03-02 09:15"))["counters"]["emails"] == 1

    invoke_job(NINE, at=utc("2026-03-03 09:00"))
    assert invoke_job(NINE, at=utc("2026-03-03 11:00"))["counters"]["matched"] == 0
    assert invoke_job(NINE, at=utc("2026-03-04 11:00"))["counters"]["matched"] == 0, "the window is open at its start"
    assert invoke_job(NINE, at=utc("2026-03-05 10:45"))["counters"]["emails"] == 1


def test_an_invalid_zone_counts_as_utc_and_as_an_error(invoke_job: Invoke, session: Session) -> None:
    for number, zone in enumerate(("Nowhere/Land", "", "GMT+25", "utc", "Europe/Berlin; drop table users")):
        customer(session, f"user{number}", timezone=zone)

    result = invoke_job(NINE, at=utc("2026-03-02 09:00"))

    assert (result["counters"]["emails"], result["counters"]["errors"]) == (5, 5)
    assert result["notes"] == [WHAT_ERRORS_ARE], "once, however many zones there are"
    assert (result["outcome"], result["counters"]["quarantined"]) == ("succeeded", 0)


def test_a_tick_with_nobody_due_makes_no_batch(invoke_job: Invoke, session: Session) -> None:
    customer(session, "ann")

    counters = invoke_job(NINE, at=utc("2026-03-02 15:00"))["counters"]

    assert (counters["batches"], counters["matched"]) == (0, 0)


def test_many_people_are_told_in_parts_and_each_once(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightshift.steps import notify

    monkeypatch.setattr(notify, "FIRST_PART", 7)
    monkeypatch.setattr(notify, "LARGEST_PART", 7)
    monkeypatch.setattr(notify, "SMALLEST_PART", 7)
    for zone in ("UTC", "Africa/Abidjan"):
        session.add_all([Customer(email=f"{zone}{n}@example.org", timezone=zone) for n in range(20)])
    session.commit()

    counters = invoke_job(NINE, at=utc("2026-03-02 09:00"))["counters"]

    assert (counters["emails"], counters["batches"]) == (40, 6)


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN an attempt with time for its first batch only THEN the next ones tell the others, nobody twice."""
    from nightshift.steps import notify

    monkeypatch.setattr(notify, "FIRST_PART", 2)
    for zone in ("UTC", "Africa/Abidjan"):
        session.add_all([Customer(email=f"{zone}{n}@example.org", timezone=zone) for n in range(3)])
    session.commit()

    results = [invoke_job(NINE, at=utc("2026-03-02 09:00"), seconds=0.9)]
    while results[-1]["outcome"] == "interrupted":
        results.append(invoke_job(NINE, {"run_id": results[0]["run_id"]}, seconds=0.9))

    assert len(results) > 2
    assert (results[-1]["outcome"], results[-1]["counters"]["emails"]) == ("succeeded", 6)
    assert len(outbox(session)) == 6
