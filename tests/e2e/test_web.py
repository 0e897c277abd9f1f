"""A person with a browser, on the local AWS: what is wrong, why, and what mends it; the day; a plan that is run.

With NIGHTSHIFT_TOUR=docs/tour the pictures of docs/tour.md are taken anew: `make tour`.
"""

import datetime as dt
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from local.deploy import PROJECT
from local.machine import Machine
from local.page import web_page
from nightshift.declaration import Deployment, iso
from tests.e2e.browser import browser as started_browser
from tests.e2e.conftest import CARTS, ITEMS, TICKING, Lambda
from tests.e2e.nights import write_nights

pytestmark = pytest.mark.e2e

ZONE = "Europe/Berlin"
SECONDS_TO_MEND = 60
AXE = PROJECT / "node_modules/axe-core/axe.min.js"
TOUR = {"attention", "failed", "plan", "progress", "job", "day-dark", "jobs-light-phone"}
"""The pictures that docs/tour.md shows."""

DESK, PHONE = {"width": 1180, "height": 760}, {"width": 390, "height": 780}

NOW = dt.datetime.now(dt.UTC)

Visit = Callable[..., Page]

expect.set_options(timeout=15_000)


@pytest.fixture(scope="module")
def page_address(machine: Machine) -> Iterator[str]:
    with web_page(machine) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def past(machine: Machine, functions: Lambda, engine: Any) -> Iterator[None]:
    """Nights that went well."""
    jobs = functions.call("console", {"query": "jobs"})["jobs"]
    deployed = Deployment(changes={job["job"]: {"schedule": job["schedule"]} for job in jobs if job["job"] != TICKING})
    with Session(engine) as session:
        its = {name: job for name, job in deployed.jobs().items() if name != TICKING}
        written = write_nights(session, its, NOW)
        yield
        session.execute(text("delete from nightshift.runs where id = any(:ids)"), {"ids": written})
        session.commit()


@pytest.fixture
def new_page(chromium: Browser, page_address: str, past: None) -> Iterator[Callable[..., Page]]:
    """Opens a page in a new browser that was handed the address. Whatever it complains about fails the test."""
    with ExitStack() as stack:
        complaints: list[str] = []

        def opened(path: str = "", *, known_zone: bool = True) -> Page:
            context = chromium.new_context(viewport=DESK, timezone_id=ZONE, locale="en-GB")  # type: ignore[arg-type]
            stack.callback(context.close)
            if known_zone:  # as on every visit but the first, on which the page is loaded twice
                context.add_cookies([{"name": "zone", "value": ZONE, "url": page_address}])
            page = context.new_page()
            page.on("console", lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(page_address.replace("?", f"{path}?"))
            return page

        yield opened
    assert complaints == []


@pytest.fixture
def items(session: Session) -> Iterator[None]:
    """Lines of carts that are due, and a trigger that calls what is not there."""
    session.execute(
        text(
            """
            truncate carts, cart_items;
            insert into cart_items (removed_at) select now() - interval '9 days' from generate_series(1, 40);
            create function broken() returns trigger language plpgsql as
                'begin perform not_there(); return null; end';
            create trigger broken before delete on cart_items for each statement execute function broken();
            """
        )
    )
    session.commit()
    yield
    session.rollback()
    session.execute(text("drop function if exists broken cascade; truncate carts, cart_items"))
    session.commit()


@pytest.fixture
def carts(session: Session) -> Iterator[None]:
    """240 carts that nobody has touched for long, each with two lines."""
    session.execute(
        text(
            """
            truncate carts, cart_items;
            insert into carts (updated_at) select now() - interval '40 days' from generate_series(1, 240);
            insert into cart_items (cart_id) select id from carts, generate_series(1, 2);
            """
        )
    )
    session.commit()
    yield
    session.rollback()
    session.execute(text("truncate carts, cart_items"))
    session.commit()


def picture(page: Page, name: str) -> None:
    """Take a picture of what is seen. It is kept for the tour only."""
    folder = os.environ.get("NIGHTSHIFT_TOUR")
    if name in TOUR:
        size = page.viewport_size or {"width": 0, "height": 0}
        high = min(size["height"], page.evaluate("document.body.scrollHeight"))
        clip = {"x": 0, "y": 0, "width": size["width"], "height": high}
        page.screenshot(path=Path(folder, f"{name}.png") if folder else None, clip=clip, animations="disabled")  # type: ignore[arg-type]


def obstacles(page: Page) -> list[str]:
    """What axe finds that keeps somebody from reading or using the page."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(f"{AXE.read_text()};0")
    found = page.evaluate(
        """axe.run().then((result) => {
            if (!result.passes.length) throw new Error("axe has looked at nothing");
            return result.violations.flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html}`));
        })"""
    )
    return [f"{page.url}: {each}" for each in found] + too_wide(page)


def too_wide(page: Page) -> list[str]:
    """Whether it must be moved sideways to be read."""
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    return [f"{page.url}: it is wider than the window"] if wide else []


def test_from_a_failing_job_to_its_reason_and_a_redrive_within_a_minute(
    new_page: Visit, items: None, functions: Lambda, session: Session
) -> None:
    assert "not_there" in functions.error(ITEMS, {"once": True})
    began = time.monotonic()
    # WHEN somebody opens the page THEN the first thing is what failed, and why
    page = new_page()
    attention = page.get_by_role("list", name="Jobs that need attention").get_by_role("listitem").first
    expect(attention).to_contain_text(ITEMS)
    expect(attention).to_contain_text("The last run failed")
    expect(attention).to_contain_text("not_there")
    picture(page, "attention")
    # One click on: the whole reason
    attention.get_by_role("link", name=re.compile("Why, and what to do")).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Run of {ITEMS} failed")
    expect(page.get_by_text("SQLSTATE 42883").first).to_be_visible()
    page.get_by_label("Your name").first.fill("Ada")
    picture(page, "failed")
    # They mend the cause, and redrive
    session.execute(text("drop function broken cascade"))
    session.commit()
    page.get_by_role("button", name="Redrive", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text(f"The run of {ITEMS} goes on where it stopped.")
    # THEN the page tells by itself that it has succeeded
    expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded", timeout=30_000)
    assert time.monotonic() - began < SECONDS_TO_MEND
    assert session.scalar(text("select count(*) from cart_items")) == 0


def test_what_deletes_is_run_from_its_plan_only(new_page: Visit, carts: None, session: Session) -> None:
    page = new_page(f"jobs/{CARTS}")
    page.get_by_text("Run", exact=True).click()
    page.get_by_role("button", name="See what it would do").click()
    # THEN its plan is shown, as a tree, with what goes along
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Plan of {CARTS} planned", timeout=30_000)
    expect(page.get_by_text(re.compile(r"^carts: delete 240 .*rows.*, youngest "))).to_be_visible()
    expect(page.get_by_text(re.compile(r"^cart_items: delete 480 .*rows.* by cascade"))).to_be_visible()
    assert session.scalar(text("select count(*) from carts")) == 240
    picture(page, "plan")
    # WHEN it is confirmed THEN it is run, and nothing else is
    page.get_by_role("button", name="Run it as planned").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Run of {CARTS} succeeded", timeout=30_000)
    session.rollback()
    assert session.scalar(text("select count(*) from carts")) == 0


def test_a_run_over_its_cap_goes_on_when_somebody_says_why(new_page: Visit, carts: None, functions: Lambda) -> None:
    assert "max_rows is 100" in functions.error(CARTS, {"parameters": {"max_rows": 100}, "once": True})
    page = new_page()
    page.get_by_role("link", name=f"Why, and what to do about {CARTS}").click()
    page.get_by_text("Lift the cap", exact=True).click()
    form = page.get_by_role("group").filter(has=page.get_by_role("button", name="Lift the cap and redrive"))
    form.get_by_label("Your name").fill("Ada")
    form.get_by_label("Why these rows are meant").fill("the carts of a shop that has closed")
    form.get_by_role("button").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded", timeout=30_000)
    expect(page.get_by_text("Its cap is lifted by Ada: the carts of a shop that has closed")).to_be_visible()


def test_a_job_is_paused_and_resumed(new_page: Visit) -> None:
    page = new_page(f"jobs/{CARTS}")
    page.get_by_text("Pause", exact=True).click()
    form = page.get_by_role("group").filter(has=page.get_by_role("button", name=f"Pause {CARTS}"))
    form.get_by_label("Your name").fill("Ada")
    form.get_by_label("Reason").fill("the move to the new database")
    form.get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text(f"{CARTS} is paused.")
    expect(page.get_by_text("by Ada: the move to the new database").first).to_be_visible()
    picture(page, "job")
    page.get_by_text("Resume", exact=True).click()
    form = page.get_by_role("group").filter(has=page.get_by_role("button", name=f"Resume {CARTS}"))
    form.get_by_label("Your name").fill("Ada")
    form.get_by_label("Reason").fill("moved")
    form.get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text(f"{CARTS} is not paused.")


def test_past_occurrences_are_run_from_the_page(new_page: Visit) -> None:
    # Occurrences that are older than those of the nights, so that nobody has run them.
    until = NOW - dt.timedelta(days=40)
    page = new_page(f"jobs/{ITEMS}")
    page.get_by_text("Backfill", exact=True).click()
    page.get_by_label("From, included").fill((until - dt.timedelta(days=2)).strftime("%Y-%m-%dT%H:%M"))
    page.get_by_label("To, not included").fill(until.strftime("%Y-%m-%dT%H:%M"))
    page.get_by_role("button", name="See the occurrences").click()
    expect(page.get_by_text("2 of 2 occurrences run, the oldest first.")).to_be_visible()
    page.locator("input[name=by]").fill("Ada")
    page.locator("[name=reason]").fill("they were missed")
    page.get_by_role("button", name="Run them").click()
    expect(page.get_by_text(f"2 of 2 occurrences of {ITEMS} run, the oldest first.")).to_be_visible(timeout=30_000)


@pytest.fixture
def at_work(session: Session) -> Iterator[uuid.UUID]:
    """A run in the middle of its work, as an attempt of some other machine leaves it in the ledger."""
    id = uuid.uuid4()
    session.execute(
        text(
            """
            insert into nightshift.runs (id, job, scheduled_for, trigger, state, attempts, max_attempts, epoch,
                                         lease_until, step, candidates, counters, started_at)
            values (:id, :job, now() - interval '1 day 1 minute', 'schedule', 'running', 1, 3, 1,
                    now() + interval '10 minutes', 'delete-carts', '{"delete-carts": 400000}',
                    '{"deleted": 141000, "batches": 33}', now() - interval '47 seconds')
            """
        ),
        {"id": id, "job": CARTS},
    )
    session.commit()
    yield id
    session.rollback()
    session.execute(text("delete from nightshift.runs where id = :id"), {"id": id})
    session.commit()


def test_progress_is_told_while_the_run_goes_on(new_page: Visit, at_work: uuid.UUID, session: Session) -> None:
    page = new_page(f"runs/{at_work}")
    expect(page.get_by_text("141,000 of 400,000 rows")).to_be_visible()
    expect(page.get_by_text(re.compile(r"a second, about \d+ min \d+ s left"))).to_be_visible()
    picture(page, "progress")
    told = page.get_by_text("of 400,000 rows")
    assert told.get_attribute("aria-live") == "polite"
    change = "update nightshift.runs set counters = counters || '{\"deleted\": 300000}' where id = :id"
    session.execute(text(change), {"id": at_work})
    session.commit()
    expect(page.get_by_text("300,000 of 400,000 rows")).to_be_visible(timeout=10_000)
    end = "update nightshift.runs set state = 'succeeded', finished_at = now(), lease_until = null where id = :id"
    session.execute(text(end), {"id": at_work})
    session.commit()
    expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded", timeout=10_000)


def test_the_keyboard_reaches_everything_and_skips_what_is_known(new_page: Visit) -> None:
    page = new_page(f"jobs/{CARTS}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.get_by_text("Pause", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.labels[0].textContent") == "Your name"


def test_times_are_those_of_the_viewer_from_the_first_visit_on(new_page: Visit, functions: Lambda) -> None:
    [job] = functions.call("console", {"query": "jobs", "job": ITEMS})["jobs"]
    page = new_page(f"jobs/{ITEMS}", known_zone=False)
    expect(page.get_by_text(ZONE).first).to_be_visible()
    shown = page.locator(f"time[datetime='{job['next_run']}']").first
    here = shown.evaluate(
        "(it) => new Date(it.dateTime).toLocaleTimeString('en-GB', {hour: '2-digit', minute: '2-digit'})"
    )
    expect(shown).to_contain_text(here)


def test_nothing_keeps_anybody_from_reading_a_page(
    new_page: Visit, functions: Lambda, at_work: uuid.UUID, carts: None
) -> None:
    plan = functions.call(CARTS, {"dry_run": True})["run_id"]
    failed = functions.call("console", {"query": "runs", "job": ITEMS})["runs"][-1]["run_id"]
    span = f"from={iso(NOW - dt.timedelta(days=9))}&to={iso(NOW - dt.timedelta(days=2))}"
    page = new_page("runs")
    root = page.url.removesuffix("runs")
    found: list[str] = []
    for path in (
        "runs",
        "",
        "day",
        f"jobs/{CARTS}",
        f"jobs/{ITEMS}/backfill?{span}",
        *map("runs/{}".format, (plan, failed, at_work)),
    ):
        if path != "runs":
            page.goto(root + path)
        for summary in page.locator("summary").all()[1:2]:
            summary.click()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found += obstacles(page)
            picture(page, f"{path or 'jobs'}-{scheme}")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        found += obstacles(page) if path in ("", "day") else too_wide(page)
        picture(page, f"{path or 'jobs'}-light-phone")
        page.set_viewport_size(DESK)  # type: ignore[arg-type]
    assert found == []
