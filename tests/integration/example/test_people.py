"""Whom the example's people are, as those who tell them something see them."""

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Select, func
from sqlalchemy.orm import Session

from application.models import PushToken, User
from application.people import ADMIN_ROLES
from nightshift import Job
from nightshift.declaration import Run
from nightshift.ledger import RunRecord
from nightshift.outbox import TICK, LocalMoment, People, Via, message, notice_kinds, write
from nightshift.outbox.people import person as found_again
from nightshift.steps import Message, Notify
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import outbox, person, told, utc

NOON = utc("2026-03-02 12:00")
RUN = Run(id=RunRecord.id, job="test", scheduled_for=NOON)  # type: ignore[arg-type]


def hello(run: Run, people: People) -> Select[Any]:
    return message(people.c.recipient, key=func.concat_ws("|", people.c.recipient, "x"), title="Hello", body="")


def job_at(moment: LocalMoment | None) -> Job:
    via = (Via("in_app"), Via("email", "general", counter="emails"), Via("push", counter="pushes"))
    found = Message(kind="inactive_user", to=hello, via=via, matched="matched", suppressed="suppressed")
    step = Notify(at=moment, messages=(found,))
    return Job(name="hello", kind="notification", schedule=TICK, audited=False, steps=(step,))


@pytest.mark.parametrize(
    ("preferences", "channels"),
    [
        (None, ["email", "in_app", "push"]),
        ({}, ["email", "in_app", "push"]),
        ({"general": False}, ["in_app", "push"]),
        ({"email_enabled": False}, ["in_app", "push"]),
        ({"push_enabled": False}, ["email", "in_app"]),
        ({"email_enabled": False, "push_enabled": False}, ["in_app"]),
        ({"weekly_report": False}, ["email", "in_app", "push"]),
    ],
)
def test_preferences_are_those_of_the_user(
    invoke_job: Invoke, session: Session, preferences: dict[str, Any] | None, channels: list[str]
) -> None:
    ann = person(session, "ann", preferences)
    session.add(PushToken(user_id=ann, token="t", platform="ios", created_at=NOON))
    session.commit()

    counters = invoke_job(job_at(None), at=NOON)["counters"]

    assert [channel for _, _, channel in told(session)] == channels
    assert (counters["matched"], counters["suppressed"]) == (1, 3 - len(channels))


def test_without_a_token_there_is_no_push(invoke_job: Invoke, session: Session) -> None:
    person(session, "ann")

    invoke_job(job_at(None), at=NOON)

    assert [channel for _, _, channel in told(session)] == ["email", "in_app"]


@pytest.mark.parametrize("gone", [{"is_active": False}, {"deleted_at": NOON}, {"anonymized_at": NOON}])
@pytest.mark.parametrize("moment", [LocalMoment(dt.time(9)), None])
def test_who_is_gone_gets_nothing_on_any_channel(
    invoke_job: Invoke, session: Session, gone: dict[str, Any], moment: LocalMoment | None
) -> None:
    ann = person(session, "ann", **gone)

    counters = invoke_job(job_at(moment), at=utc("2026-03-02 09:00"))["counters"]

    assert (outbox(session), counters["matched"]) == ([], 0)
    assert found_again(session, str(ann)) is None, "nor does the dispatcher send what was written before"


def test_administrators_are_told_in_one_statement(session: Session) -> None:
    person(session, "ann", role="admin")
    person(session, "bob", role="super_admin", timezone="Nowhere/Land")
    person(session, "eve")
    admins = message(User.id, key=func.concat_ws("|", "x", User.id), title="T", body="B", data={"rule": "x"})

    written = write(session, RUN, "security_alert", admins.where(User.role.in_(ADMIN_ROLES)), [Via("email")])

    session.commit()
    assert (written.matched, written.by_channel["email"], written.zone_errors) == (2, 2, 1)
    assert told(session) == [("ann", "security_alert", "email"), ("bob", "security_alert", "email")]


def test_there_are_thirteen_kinds_of_notice_beside_the_librarys() -> None:
    assert len(set(notice_kinds()) - {"operators"}) == 13
