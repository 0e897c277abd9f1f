"""The jobs that the pages show do what the pages say: each is planned and run, in a project with its page's files."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from cli.commands import application as command
from nightshift import Job
from nightshift.deadline import Deadline
from nightshift.declaration import registry
from nightshift.outbox import render
from tests import pages
from tests.ground.world import packs_in
from tests.integration.tables.conftest import Call, Filled

LAYER = "layers/application/python/"


@dataclass(frozen=True)
class Change:
    """What a step is to do: to which rows, and what it counts them as."""

    counter: str
    table: str
    rows: str
    stay: bool = False
    """The rows stay in their table, changed or only counted."""


EXPECTED = {
    "webhook-deliveries": [Change("deleted", "shop.webhook_deliveries", "created_at < '2025-12-01 02:00Z'")],
    "unanswered-invitations": [
        Change("deleted", "shop.invitations", "status = 'pending' and created_at < '2026-01-30 02:00Z'")
    ],
    "expired-coupons": [
        Change("expired", "shop.coupons", "not expired and ends_at < '2026-03-01 01:00Z'", stay=True),
        Change("endless", "shop.coupons", "ends_at is null", stay=True),
    ],
    "old-orders": [Change("moved", "shop.orders", "closed_at < '2025-03-01 02:00Z'")],
    "subscription-renewals": [],
    "django-leftovers": [
        Change("sessions", "django_session", "expire_date < '2026-02-28 02:00Z'"),
        Change(
            "lines",
            "shop_orderline",
            "exists (select from shop_order o where o.id = order_id and closed_at < '2025-03-01 02:00Z')",
        ),
        Change(
            "orders",
            "shop_order",
            "closed_at < '2025-03-01 02:00Z' and id not in (select order_id from shop_orderline)",
        ),
    ],
    "rails-leftovers": [
        Change("jobs", "solid_queue_jobs", "queue_name <> 'audit' and finished_at < '2026-02-15 02:00'"),
        Change("posts", "posts", "deleted_at < '2026-01-30 02:00'"),
    ],
    "old-events": [
        Change("views", "shop.page_views", "to_timestamp(seen_ms / 1000) < '2026-01-30 02:00Z'"),
        Change("messages", "shop.messages", "sent_at < '2026-01-30 02:00Z'"),
        Change("events", '"AuditEvent"', """severity = 'low' and "createdAt" < '2025-12-31 02:00'"""),
    ],
    "old-readings": [
        Change("sensors", "shop.sensor_readings", "read_at < '2025-12-01 02:00Z'"),
        Change("meters", "shop.meter_readings", "read_at < '2025-03-01 02:00Z'"),
    ],
    "closed-orders": [Change("deleted", "shop.orders", "status = 'closed' and closed_at < '2025-03-01 02:00Z'")],
}
"""The steps of each job in order, in other words than the job's own. The run's now is 2026-03-01 02:00 in UTC."""

JOBS = {path.rpartition("/")[2][:-3].replace("_", "-"): page for page in pages.PAGES for path in pages.jobs(page)}


Shown = Callable[[Path], dict[str, Job]]


@pytest.fixture
def shown(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shown]:
    """A project with the files that one page shows, and no others: `shown(page)` gives its jobs by name."""
    for name in loaded():
        monkeypatch.delitem(sys.modules, name)
    folder = tmp_path / "functions"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop/__init__.py").touch()

    def make(page: Path) -> dict[str, Job]:
        for path, content in pages.files(page).items():
            place = package.parent / path.removeprefix(LAYER) if path.startswith(LAYER) else tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
        return {name: found.job for name, found in registry().items()}

    with packs_in(folder):
        yield make
    for name in loaded():
        del sys.modules[name]


def loaded() -> list[str]:
    """The modules of the pack that pages show; a project may have one of the same name."""
    return [name for name in sys.modules if f"{name}.".startswith("functions.shop.")]


def rows(engine: Engine, table: str, condition: str = "true") -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(text(f"select cast(t as text) from {table} t where {condition}")))


@pytest.fixture
def engine(filled: Filled) -> Engine:
    return filled("documented")


@pytest.mark.parametrize(("name", "page"), JOBS.items(), ids=JOBS)
def test_a_documented_job_plans_and_does_what_its_page_says(
    shown: Shown, call: Call, engine: Engine, name: str, page: Path
) -> None:
    job = shown(page)[name]
    before = [(rows(engine, each.table), rows(engine, each.table, each.rows)) for each in EXPECTED[name]]
    wanted = [len(rows(engine, each.table, each.rows)) for each in EXPECTED[name]]
    assert all(wanted)
    assert all(some < every for every, some in before), "rows on both sides of every condition"

    planned = call(engine, job, dry_run=True)
    done = call(engine, job)

    assert (planned["outcome"], planned["errors"], done["outcome"], done["errors"]) == ("planned", [], "succeeded", [])
    assert not planned["plan"]["over_cap"]
    steps = planned["plan"]["steps"] if EXPECTED[name] else []
    assert [step["rows"] for step in steps] == wanted
    assert [done["counters"][change.counter] for change in EXPECTED[name]] == wanted
    for change, step, (every, some), number in zip(EXPECTED[name], steps, before, wanted, strict=True):
        if step["action"] != "count":
            after = rows(engine, change.table)
            assert every - some <= after, f"{change.table}: others than meant are gone or changed"
            assert len(some - after) == number
            assert len(after) == len(every) - (0 if change.stay else number)


def test_every_job_that_a_page_shows_is_expected_to_do_something() -> None:
    assert set(JOBS) == set(EXPECTED) - ({"webhook-deliveries"} if not pages.README else set())


def test_what_django_leaves_to_the_next_night_goes_then(shown: Shown, call: Call, engine: Engine) -> None:
    job = shown(JOBS["django-leftovers"])["django-leftovers"]
    old = rows(engine, "shop_order", "closed_at < '2025-03-01 02:00Z'")

    first, second, third = (call(engine, job)["counters"]["orders"] for _ in range(3))

    assert (first + second, third) == (len(old), 0)
    assert first
    assert second
    assert not rows(engine, "shop_order") & old


def test_what_refers_without_a_cascade_keeps_its_row_and_the_plan_says_how_many(
    shown: Shown, call: Call, engine: Engine
) -> None:
    job = shown(JOBS["django-leftovers"])["django-leftovers"]

    *_, orders = call(engine, job, dry_run=True)["plan"]["steps"]

    assert orders["referenced"] == len(
        rows(engine, "shop_order", "closed_at < '2025-03-01 02:00Z' and id in (select order_id from shop_orderline)")
    )


def test_a_function_that_is_interrupted_goes_on_at_its_position(
    shown: Shown, call: Call, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shown(JOBS["old-orders"])["old-orders"]
    old = rows(engine, "shop.orders", "closed_at < '2025-03-01 02:00Z'")
    monkeypatch.setattr(Deadline, "near", True)

    found = call(engine, job)
    attempts = 1
    while found["outcome"] == "interrupted" and attempts < 10:
        found = call(engine, job, run_id=found["run_id"])
        attempts += 1

    assert (found["outcome"], found["counters"]["moved"]) == ("succeeded", len(old))
    assert attempts > 3
    assert rows(engine, "shop.old_orders") == old


def test_a_notice_reaches_those_for_whom_the_hour_has_come_as_the_mail_that_the_page_shows(
    shown: Shown, call: Call, engine: Engine, tmp_path: Path
) -> None:
    job = shown(JOBS["subscription-renewals"])["subscription-renewals"]

    (plan,) = call(engine, job, dry_run=True)["plan"]["steps"]
    counters = call(engine, job)["counters"]
    again = call(engine, job)["counters"]

    assert (plan["rows"], counters["mails"], counters["in_app"], counters["errors"]) == (2, 1, 1, 0)
    assert (again["mails"], again["in_app"]) == (0, 0)
    with engine.connect() as connection:
        told = text("select recipient, title, body, data from nightshift.notifications where channel = 'email'")
        recipient, title, body, data = connection.execute(told).one()
    assert (recipient, body) == ("1", "Your plan Gold renews on 2026-03-04.")
    mail = render("subscription_renewal", title=title, body=body, data=data, name="Ann")
    assert "Your plan Gold renews on 4 March 2026." in mail.text
    assert "<b>Gold</b> renews on 4 March 2026." in mail.html
    preview = CliRunner().invoke(command, ["mail", "preview", "subscription_renewal", "--to", str(tmp_path)])
    assert preview.exit_code == 0
    assert (
        mail.text.partition("--\n")[0].replace("Ann,", "Ann Example,")
        == ((tmp_path / "subscription_renewal.txt").read_text().partition("--\n")[0])
    )


@pytest.mark.parametrize("page", [page for page in pages.PAGES if "tests/own/rows.sql" in pages.files(page)])
def test_the_rows_that_a_page_shows_fit_their_table(engine: Engine, page: Path) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(pages.files(page)["tests/own/rows.sql"])
