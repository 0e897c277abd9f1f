"""A project of one's own, without the example: its people stand in its own table, and are told in its own words."""

import datetime as dt
import json
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
from sqlalchemy import Engine, column, func, literal, table, text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from cli.commands import application as command
from nightshift import DeclarationError, Execution, Function, Job
from nightshift.deadline import Deadline
from nightshift.errors import RunFailedError
from nightshift.outbox import Allowance, LocalMoment, Outlets, Via, dispatch, message, tell_operators
from nightshift.steps import Notify
from nightshift.steps.notify import Message
from tests.integration.tables.conftest import Call

CUSTOMERS = """
    create schema shop;
    create table shop.customers (number bigint primary key, mail text not null, called text, tz text not null,
        silent_from time, silent_to time, likes jsonb not null default '{}', baskets int not null default 1);
    insert into shop.customers (number, mail, called, tz) values
        (1, 'ann@example.org', 'Ann', 'Europe/Berlin'), (2, 'bob@example.org', 'Bob', 'Asia/Kolkata');
    insert into shop.customers (number, mail, called, tz, silent_from, silent_to, likes) values
        (9000000001, 'eve@example.org', null, 'Europe/Berlin', '02:00', '04:30', '{}'),
        (4, 'joe@example.org', 'Joe', 'Europe/Berlin', null, null, '{"baskets": false}'),
        (5, 'sue@example.org', 'Sue', 'Mars/Olympus', null, null, '{}');
"""

PROJECT = """
from sqlalchemy import BigInteger, Time, Text, column, select, table
from sqlalchemy.dialects.postgresql import JSONB

from nightshift.declaration import Project

customers = table("customers", column("number", BigInteger), column("mail", Text), column("called", Text),
    column("tz", Text), column("silent_from", Time), column("silent_to", Time), column("likes", JSONB), schema="shop")


class Customers:
    def everybody(self):
        c = customers.c
        return select(c.number.label("recipient"), c.called.label("name"), c.mail.label("address"), c.tz.label("zone"),
            c.silent_from.label("quiet_start"), c.silent_to.label("quiet_end"), c.likes.label("wants"))

    def zones(self):
        return None


class Shop(Project):
    def people(self):
        return Customers()


project = Shop()
"""


@pytest.fixture
def shop(package: Path) -> None:
    """A project that has people and one kind of notice."""
    kind = package / "notices" / "basket"
    kind.mkdir(parents=True)
    (package / "project.py").write_text(PROJECT)
    sample = {"title": "Your basket", "body": "It waits.", "data": {"items": 2}}
    (kind / "kind.json").write_text(json.dumps({"sample": sample}))
    for form in ("html", "txt"):
        (kind / f"mail.{form}").write_text(
            '{% extends "base.' + form + '" %}{% block content %}{{ body }} {{ data["items"] }} items.{% endblock %}'
        )


def baskets(run: Any, people: Any) -> Any:
    customers = table("customers", column("number"), column("baskets"), schema="shop")
    who = people.c.recipient
    key = func.concat(who, "|basket|", people.c.local_date)
    data = func.jsonb_build_object("items", customers.c.baskets)
    told = message(who, key=key, title=literal("Your basket"), body=literal("It waits."), data=data)
    return told.select_from(people.join(customers, customers.c.number == who))


def job(**more: Any) -> Job:
    step = Notify(messages=(Message(kind="basket", to=baskets, via=(Via("email", "baskets", "mails"),)),), **more)
    return Job(name="baskets", kind="notification", schedule="cron(0/15 * * * ? *)", steps=(step,), audited=False)


class Letterbox(Outlets):
    """Outlets whose mails stay here; the operators' topic is one of moto's."""

    def __init__(self, topic: str | None = None) -> None:
        super().__init__(sender="shop@example.org", operators_topic=topic)
        vars(self)["mails"] = []

    def allowance(self) -> Allowance:
        return Allowance(1000, None)

    def mail(self, address: str, mail: Any, *, unsubscribe: bool) -> None:
        vars(self)["mails"].append((address, mail.text))


def send(engine: Engine, outlets: Outlets) -> dict[str, int]:
    begun = time.monotonic()
    with Session(engine) as session:
        left = Deadline(lambda: 60 - (time.monotonic() - begun))
        return dict(dispatch(session, outlets, left, daily_cap=10))


def pages() -> list[dict[str, str]]:
    """What the operators were told."""
    sqs = boto3.client("sqs")
    queue = sqs.get_queue_url(QueueName="pages")["QueueUrl"]
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(each["Body"]) for each in found]


@pytest.mark.usefixtures("shop")
def test_everybody_is_told_by_preference_and_after_quiet_hours(made: Any, call: Call) -> None:
    engine = made(CUSTOMERS)

    (plan,) = call(engine, job(), dry_run=True)["plan"]["steps"]
    counters = call(engine, job())["counters"]  # 2:00 in UTC: 3:00 in Berlin
    again = call(engine, job())["counters"]

    assert (plan["rows"], counters["mails"], counters["errors"], again["mails"]) == (4, 4, 1, 0)
    with engine.connect() as connection:
        due = dict(connection.execute(text("select recipient, scheduled_for from nightshift.notifications")).all())
    assert {who: f"{at:%H:%M}" for who, at in due.items()} == {
        **dict.fromkeys(("1", "2", "5"), "02:00"),
        "9000000001": "03:30",
    }
    outlets = Letterbox()
    with engine.begin() as connection:
        # The clock of the dispatcher is the machine's: whose quiet hours it is now waits, so there are none here.
        connection.execute(text("update shop.customers set silent_from = null, silent_to = null, called = 'Robert'"))
        connection.execute(text("update nightshift.notifications set scheduled_for = now() - interval '1 minute'"))
        connection.execute(text("delete from shop.customers where number = 5"))
    assert send(engine, outlets) == {"sent": 3, "suppressed": 1}
    mails = dict(vars(outlets)["mails"])
    assert set(mails) == {"ann@example.org", "bob@example.org", "eve@example.org"}
    assert "Hello Robert" in mails["bob@example.org"]
    assert "It waits. 1 items." in mails["bob@example.org"]


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(("hour", "minute", "who"), [(3, 0, {"1", "9000000001"}), (7, 30, {"2"}), (9, 0, set())])
def test_at_a_local_hour_only_those_are_told_for_whom_it_has_come(
    made: Any, call: Call, hour: int, minute: int, who: set[str]
) -> None:
    engine = made(CUSTOMERS)

    call(engine, job(at=LocalMoment(dt.time(hour, minute))))

    with engine.connect() as connection:
        assert set(connection.scalars(text("select recipient from nightshift.notifications"))) == who


@pytest.mark.usefixtures("shop")
def test_the_preview_lists_and_renders_the_kinds(tmp_path: Path) -> None:
    run = CliRunner().invoke

    unknown = run(command, ["mail", "preview", "birthday"])
    shown = run(command, ["mail", "preview", "basket", "--to", str(tmp_path)])
    own = run(command, ["mail", "preview", "operators", "--to", str(tmp_path)])

    assert (unknown.exit_code, shown.exit_code, own.exit_code) == (2, 0, 0)
    assert "known are operators, basket" in unknown.stderr.replace("\n", " ")
    assert "It waits. 2 items." in (tmp_path / "basket.txt").read_text()
    assert "  - reason: S3 answered PutObject with AccessDenied\n" in (tmp_path / "operators.txt").read_text()


def telling(kind: str | None) -> Job:
    def tell(execution: Execution) -> None:
        with execution.batch() as batch:
            more: dict[str, Any] = {"kind": kind} if kind else {}
            data = {"stock_left": 3, "shelves": ["a", "b"]}
            facts: dict[str, Any] = {"key": "stock", "title": "Stock is low", "body": "Order more.", "data": data}
            tell_operators(batch.session, execution.run, **facts, **more)
            batch.position = {"done": True}

    step = Function(name="tell", apply=tell, plan=lambda session, run: [], counters=())
    return Job(name="stock", kind="check", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("kind", [None, "operators"])
def test_operators_are_told_without_any_templates_of_ones_own(
    made: Any, call: Call, operators: str, kind: str | None
) -> None:
    engine = made(CUSTOMERS)

    call(engine, telling(kind))
    sent = send(engine, Letterbox(operators))

    assert sent == {"sent": 1}
    (page,) = pages()
    assert page["Subject"] == "Stock is low"
    assert 'Order more.\n\n  - shelves: ["a", "b"]\n  - stock left: 3\n' in page["Message"]


@pytest.mark.usefixtures("shop")
def test_a_kind_that_does_not_exist_is_refused_when_it_is_written(made: Any, call: Call) -> None:
    engine = made(CUSTOMERS)

    with pytest.raises(RunFailedError, match="no kind of notice 'birthday': there are operators, basket"):
        call(engine, telling("birthday"))
    with pytest.raises(DeclarationError, match="no kind of notice 'birthday'"):
        Message(kind="birthday", to=baskets, via=(Via("email"),))

    with engine.connect() as connection:
        assert connection.scalar(text("select count(*) from nightshift.notifications")) == 0
