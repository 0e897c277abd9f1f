"""A person with a browser, on the local AWS: what is wrong, why, and what mends it; the day; a plan that is run.

With NIGHTSHIFT_TOUR=docs/tour the pictures of docs/tour.md are taken anew: `make tour`.
"""

import datetime as dt
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from local.deploy import PROJECT
from local.machine import Machine
from local.page import web_page
from nightshift.declaration import Deployment
from tests.e2e.browser import browser as started_browser
from tests.e2e.conftest import CARTS, ITEMS, TICKING, Lambda
from tests.e2e.nights import write_nights

pytestmark = pytest.mark.e2e

ZONE = "Europe/Berlin"
SECONDS_TO_MEND = 60
AXE = PROJECT / "node_modules/axe-core/axe.min.js"
TOUR = {"attention", "failed", "plan", "progress", "job", "backfills", "day-dark", "jobs-light-phone"}
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
    """Nights that went well, and a supervisor that has looked over the ledger since. The functions are awake."""
    with ThreadPoolExecutor() as threads:
        for name, payload in (("supervisor", {}), ("control", {"command": "none"}), (CARTS, {"dry_run": True})):
            threads.submit(functions.call, name, payload)
    jobs = functions.call("console", {"query": "jobs"})["jobs"]
    deployed = Deployment(changes={job["job"]: {"schedule": job["schedule"]} for job in jobs if job["job"] != TICKING})
    with Session(engine) as session:
        its = {name: job for name, job in deployed.jobs().items() if name != TICKING}
        written = write_nights(session, its, NOW)
        yield
        session.execute(text("delete from nightshift.runs where id = any(:ids)"), {"ids": written})
        session.commit()


def new_tab(chromium: Browser, page_address: str, complaints: list[str], *, zone_is_known: bool) -> Page:
    """A browser that was handed the address. What it complains about is added to the complaints."""
    context = chromium.new_context(viewport=DESK, timezone_id=ZONE, locale="en-GB")  # type: ignore[arg-type]
    if zone_is_known:  # as on every visit but the first, on which the page is loaded twice
        context.add_cookies([{"name": "zone", "value": ZONE, "url": page_address}])
    page = context.new_page()
    page.on("console", lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


@pytest.fixture(scope="module")
def tab(chromium: Browser, page_address: str, past: None) -> Iterator[tuple[Page, list[str]]]:
    """One tab for the whole walk, and what it complains about."""
    complaints: list[str] = []
    page = new_tab(chromium, page_address, complaints, zone_is_known=True)
    yield page, complaints
    page.context.close()


@pytest.fixture
def visit(tab: tuple[Page, list[str]], page_address: str) -> Iterator[Visit]:
    """Goes to an address of the page. Whatever the browser complains about fails the test."""
    page, complaints = tab
    before = len(complaints)

    def at(path: str = "") -> Page:
        page.goto(page_address.replace("?", f"{path}{'&' if '?' in path else '?'}"))
        return page

    yield at
    assert complaints[before:] == []


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


def obstacles(page: Page, name: str) -> list[str]:
    """What axe finds that keeps somebody from reading or using what is shown: by phone, and at a desk in the dark.

    The dark changes colours alone, so only they are looked at there. The pictures have the name and the scheme.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(f"{AXE.read_text()};0")
    found = []
    for size, scheme, only in ((PHONE, "light", ""), (DESK, "dark", 'runOnly: ["color-contrast"]')):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        picture(page, f"{name}-{scheme}{'-phone' if size is PHONE else ''}")
        violations = page.evaluate(
            f"""axe.run({{resultTypes: ["violations"], {only}}}).then((result) => {{
                if (!result.passes.length) throw new Error("axe has looked at nothing");
                return result.violations.flatMap((one) => one.nodes.map((node) => `${{one.id}}: ${{node.html}}`));
            }})"""
        )
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            violations.append("it is wider than the window, and must be moved sideways to be read")
        found += [f"{page.url}, {scheme}: {each}" for each in violations]
    page.emulate_media(color_scheme="light")
    return found


def fill(page: Page, button: str, **fields: str) -> None:
    """Fill the form of a button by the labels of its fields, and send it."""
    form = page.locator("form").filter(has=page.get_by_role("button", name=button, exact=True))
    for label, value in fields.items():
        form.get_by_label(label.replace("_", " ").capitalize(), exact=True).fill(value)
    form.get_by_role("button", name=button, exact=True).click()


def test_from_a_failing_job_to_its_reason_and_a_redrive_within_a_minute(
    visit: Visit, items: None, functions: Lambda, session: Session
) -> None:
    assert "not_there" in functions.error(ITEMS, {"once": True})
    began = time.monotonic()
    # WHEN somebody opens the page THEN the first thing is what failed, and why
    page = visit()
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
    # THEN the page tells by itself that it has succeeded, and who has mended it
    expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded", timeout=30_000)
    assert time.monotonic() - began < SECONDS_TO_MEND
    expect(page.get_by_role("region", name="Who did what").get_by_role("row", name="Ada")).to_contain_text("redrive")
    assert session.scalar(text("select count(*) from cart_items")) == 0


def test_from_a_plan_to_a_confirmed_run_within_a_minute(visit: Visit, carts: None, session: Session) -> None:
    began = time.monotonic()
    page = visit(f"jobs/{CARTS}")
    page.get_by_text("Run", exact=True).click()
    page.get_by_role("button", name="See what it would do").click()
    # THEN its plan is shown, as a tree, with what goes along
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Plan of {CARTS} planned", timeout=30_000)
    expect(page.get_by_text(re.compile(r"^carts: delete 240 .*rows.*, youngest "))).to_be_visible()
    expect(page.get_by_text(re.compile(r"^cart_items: delete 480 .*rows.* by cascade"))).to_be_visible()
    assert session.scalar(text("select count(*) from carts")) == 240
    picture(page, "plan")
    looked_at = time.monotonic()
    found = obstacles(page, "plan")
    began += time.monotonic() - looked_at  # this is no part of the walk
    # WHEN it is confirmed THEN it is run, and nothing else is
    page.get_by_role("button", name="Run it as planned").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Run of {CARTS} succeeded", timeout=30_000)
    assert time.monotonic() - began < SECONDS_TO_MEND
    session.rollback()
    assert session.scalar(text("select count(*) from carts")) == 0
    assert found == []


def test_a_run_over_its_cap_goes_on_when_somebody_says_why(visit: Visit, carts: None, functions: Lambda) -> None:
    assert "max_rows is 100" in functions.error(CARTS, {"parameters": {"max_rows": 100}, "once": True})
    page = visit()
    found = obstacles(page, "jobs")
    page.get_by_role("link", name=f"Why, and what to do about {CARTS}").click()
    page.get_by_text("Lift the cap", exact=True).click()
    found += obstacles(page, "over-its-cap")
    fill(
        page,
        "Lift the cap and redrive",
        your_name="Ada",
        why_these_rows_are_meant="the carts of a shop that has closed",
    )
    expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded", timeout=30_000)
    expect(page.get_by_text("Its cap is lifted by Ada: the carts of a shop that has closed")).to_be_visible()
    assert found == []


def test_a_job_is_paused_and_resumed_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit(f"jobs/{CARTS}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.get_by_text("Pause", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.labels[0].textContent") == "Your name"
    found = obstacles(page, "job")
    for typed in ("Ada", "the move to the new database"):
        page.keyboard.press("ControlOrMeta+A")
        page.keyboard.type(typed)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text(f"{CARTS} is paused.")
    expect(page.get_by_text("by Ada: the move to the new database").first).to_be_visible()
    picture(page, "job")
    page.get_by_text("Resume", exact=True).click()
    fill(page, f"Resume {CARTS}", your_name="Ada", reason="moved")
    expect(page.get_by_role("status")).to_contain_text(f"{CARTS} is not paused.")
    assert found == []


def test_a_backfill_is_asked_for_watched_paused_resumed_and_cancelled(visit: Visit, session: Session) -> None:
    # Occurrences that are older than those of the nights, so that nobody has run them.
    until = NOW - dt.timedelta(days=40)
    page = visit(f"jobs/{ITEMS}")
    page.get_by_text("Backfill", exact=True).click()
    page.get_by_label("From, included").fill((until - dt.timedelta(days=30)).strftime("%Y-%m-%dT%H:%M"))
    page.get_by_label("To, not included").fill(until.strftime("%Y-%m-%dT%H:%M"))
    page.get_by_role("button", name="See the occurrences").click()
    expect(page.get_by_text("30 of 30 occurrences run, the oldest first.")).to_be_visible()
    found = obstacles(page, "backfill")
    fill(page, "Run them", your_name="Ada", reason="they were missed")
    expect(page.get_by_text(f"30 of 30 occurrences of {ITEMS} run, the oldest first.")).to_be_visible()
    expect(page.get_by_role("paragraph").filter(has_text=re.compile(r"^\d+ of 30 occurrences$"))).to_be_visible()
    # Some time later
    later = """
        update nightshift.backfills
        set counts = '{"succeeded": 11, "failed": 1}', created_at = created_at - interval '40 minutes'
        where job = :job and finished_at is null
    """
    session.execute(text(later), {"job": ITEMS})
    session.commit()
    page.get_by_role("link", name="Backfill", exact=True).click()
    far = re.compile(r"^1\d of 30 occurrences, 1 failed, about \d+ min left$")
    expect(page.get_by_role("paragraph").filter(has_text=far)).to_be_visible()
    expect(page.get_by_text(re.compile(r"Asked for by Ada .*: they were missed"))).to_be_visible()
    picture(page, "backfills")
    page.get_by_text("Pause").first.click()
    found += obstacles(page, "backfills")
    fill(page, "Pause the backfill", your_name="Ada", reason="the shop is busy")
    expect(page.get_by_role("status")).to_contain_text(f"The backfill of {ITEMS} is paused:")
    expect(page.get_by_text("paused by Ada: the shop is busy")).to_be_visible()
    page.get_by_text("Resume").first.click()
    fill(page, "Resume the backfill", your_name="Ada")
    expect(page.get_by_role("status")).to_contain_text(f"The backfill of {ITEMS} goes on")
    page.get_by_text("Cancel").first.click()
    fill(page, "Cancel the backfill", your_name="Ada", reason="they are not needed")
    expect(page.get_by_role("status")).to_contain_text(f"The backfill of {ITEMS} is cancelled:")
    assert found == []


@pytest.fixture
def at_work(session: Session) -> Iterator[uuid.UUID]:
    """A run in the middle of its work, as an attempt of some other machine leaves it in the ledger."""
    id = uuid.uuid4()
    session.execute(
        text(
            """
            insert into nightshift.runs (id, job, scheduled_for, trigger, state, attempts, max_attempts, epoch,
                                         lease_until, step, candidates, counters, started_at, anomalies)
            values (:id, :job, now() - interval '1 day 1 minute', 'schedule', 'running', 1, 3, 1,
                    now() + interval '10 minutes', 'delete-carts', '{"delete-carts": 400000}',
                    '{"deleted": 141000, "batches": 33}', now() - interval '47 seconds',
                    '{"slow": "it has taken 47 s, and usually takes 3 s"}')
            """
        ),
        {"id": id, "job": CARTS},
    )
    session.commit()
    yield id
    session.rollback()
    session.execute(text("delete from nightshift.runs where id = :id"), {"id": id})
    session.commit()


def test_progress_is_told_while_the_run_goes_on(visit: Visit, at_work: uuid.UUID, session: Session) -> None:
    page = visit(f"runs/{at_work}")
    expect(page.get_by_text("141,000 of 400,000 rows")).to_be_visible()
    expect(page.get_by_text(re.compile(r"a second, about \d+ min \d+ s left"))).to_be_visible()
    expect(page.get_by_text("It has taken 47 s, and usually takes 3 s.")).to_be_visible()
    picture(page, "progress")
    found = obstacles(page, "run")
    told = page.get_by_text("of 400,000 rows")
    assert told.get_attribute("aria-live") == "polite"
    change = "update nightshift.runs set counters = counters || '{\"deleted\": 300000}' where id = :id"
    session.execute(text(change), {"id": at_work})
    session.commit()
    expect(page.get_by_text("300,000 of 400,000 rows")).to_be_visible(timeout=10_000)
    expect(page.get_by_text("deleted 300,000")).to_be_visible()
    end = "update nightshift.runs set state = 'succeeded', finished_at = now(), lease_until = null where id = :id"
    session.execute(text(end), {"id": at_work})
    session.commit()
    expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded", timeout=10_000)
    assert found == []


def test_the_day_and_the_runs_can_be_read_by_everybody(visit: Visit) -> None:
    found = obstacles(visit("day"), "day") + obstacles(visit("runs"), "runs")
    assert found == []


def test_times_are_those_of_the_viewer_from_the_first_visit_on(
    chromium: Browser, page_address: str, past: None, functions: Lambda
) -> None:
    [job] = functions.call("console", {"query": "jobs", "job": ITEMS})["jobs"]
    complaints: list[str] = []
    page = new_tab(chromium, page_address, complaints, zone_is_known=False)
    page.goto(page_address.replace("?", f"jobs/{ITEMS}?"))
    expect(page.get_by_text(ZONE).first).to_be_visible()
    shown = page.locator(f"time[datetime='{job['next_run']}']").first
    here = shown.evaluate(
        "(it) => new Date(it.dateTime).toLocaleTimeString('en-GB', {hour: '2-digit', minute: '2-digit'})"
    )
    expect(shown).to_contain_text(here)
    page.context.close()
    assert complaints == []
