"""The page: what is shown at which address, and what each form does."""

import datetime as dt
import getpass
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, flash, g, make_response, redirect, render_template, request, session, url_for
from werkzeug.exceptions import HTTPException

from cli import job_words, known_jobs, plan_views, screen, times
from cli.aws import AwsError, FunctionError
from cli.backfill_progress import backfill_progress
from cli.deployment import DatabaseDownError, Operator
from cli.job_tables import words
from cli.refusals import RefusedError
from cli.run_progress import at_work as at_work_in_words, kept_rows, run_progress
from cli.running import past
from cli.web import drawings
from cli.web.clock import COOKIE, Clock
from cli.web.day import day as line_of_time, span
from cli.web.gate import guard
from cli.web.tones import badge, told, tone
from cli.web.work import Works

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

    from nightshift.declaration import Job

HISTORY = 50
"""How many of its last runs a job's page shows."""

BACKFILLS = 50
"""How many backfills their page shows: those that are not over, then the latest."""

OF_A_DAY = 300
"""How many of its runs a job may have on the line of time: one each five minutes."""

SECONDS_BETWEEN_LOOKS = 2
"""How often the page looks at a run that is open, while somebody looks at the page."""

SECONDS_TO_BEGIN = 1
"""How often it looks for the run of what was just set in motion."""

CALM_SECONDS = 20
"""How often it looks where nothing is at work."""

GO = "Nightshift-Go"
"""A header of a live answer: go to this address, there is nothing more to be seen here."""

Page = "str | AnyResponse"


def make_page(
    operator: Operator,
    *,
    port: int,
    token: str,
    once: str | None = None,
    now: Callable[[], dt.datetime] = times.now,
) -> Flask:
    """The page, as an application of WSGI. It asks AWS when somebody looks, and else does nothing. See `guard`."""
    app = Flask(__name__, root_path=str(Path(__file__).parent), static_url_path="/files")
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals |= {
        "anomalies": job_words.anomalies,
        "at_work_in_words": at_work_in_words,
        "badge": badge,
        "because": job_words.because,
        "concerns": job_words.concerns,
        "dialled": job_words.dialled,
        "strained": job_words.strained,
        "durations": drawings.durations,
        "limits": job_words.limits,
        "may_lift": job_words.may_lift,
        "policy": job_words.policy,
        "rows": drawings.rows,
        "state": job_words.state,
        "tone": tone,
    }
    app.jinja_env.filters |= {"counters": screen.counters, "took": times.took, "words": words, "told": told}
    guard(app, port=port, token=token, once=once)
    desk = _Desk(operator, Works(operator, now), now)

    @app.before_request
    def tell_the_time() -> None:
        g.clock = Clock.of(now(), request.cookies.get(COOKIE))

    @app.context_processor
    def always() -> dict[str, Any]:
        return {
            "clock": g.clock,
            "progress_of": lambda backfill: backfill_progress(backfill, g.clock.now),
            "by": session.get("by") or _me(),
            "form": session.get("form", ""),
            "seconds": CALM_SECONDS,
            "open_works": desk.works.open,
        }

    _show(app, desk)
    _act(app, desk)
    _fail(app)
    return app


class _Desk:
    """What all pages need: the deployment, what was set in motion, and the declarations of this folder."""

    def __init__(self, operator: Operator, works: Works, now: Callable[[], dt.datetime]) -> None:
        self.operator = operator
        self.works = works
        self.now = now

    def job(self, name: str) -> dict[str, Any]:
        [found] = self.operator.ask("overview", job=name)["jobs"]
        return dict(found)

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.operator.ask("run", run_id=run_id)["run"])

    def declared(self, name: str) -> "Job | None":
        """The job as the code in this folder declares it. What is deployed may be of another folder."""
        found = known_jobs.declared().get(name)
        return found.job if found else None

    def at_once(self, *calls: Callable[[], Any]) -> list[Any]:
        with ThreadPoolExecutor(len(calls)) as threads:
            return [each.result() for each in [threads.submit(call) for call in calls]]


def _show(app: Flask, desk: _Desk) -> None:
    """The pages that only look."""

    @app.get("/")
    def jobs() -> str:
        overview = desk.operator.ask("overview", runs=drawings.BARS)
        found = overview["jobs"]
        others = [(each, [job_words.of_other(each)]) for each in overview["others"]]
        worst = others + sorted(
            ((job, job_words.concerns(job, g.clock.words)) for job in found),
            key=lambda each: [one.weight for one in each[1]] or ["z"],
        )
        return render_template(
            "jobs.html",
            jobs=found,
            attention=[each for each in worst if each[1]],
            all_paused=any((job["paused"] or {}).get("all") for job in found),
            supervisor=overview.get("supervisor"),
            here=_times_of_day(g.clock),
        )

    @app.get("/day")
    def day() -> str:
        start, _ = span(g.clock.now)
        found = desk.operator.ask("overview", runs=OF_A_DAY, since=start.isoformat())["jobs"]
        return render_template("day.html", day=line_of_time(found, g.clock.now))

    @app.get("/runs")
    def runs() -> str:
        return render_template("runs.html", runs=desk.operator.ask("runs", limit=100)["runs"])

    @app.get("/jobs/<job>")
    def job(job: str) -> str:
        found, latest = desk.at_once(
            lambda: desk.job(job), lambda: desk.operator.ask("runs", job=job, limit=HISTORY)["runs"]
        )
        return render_template(
            "job.html",
            job=found,
            runs=latest,
            declared=desk.declared(job),
            here=_times_of_day(g.clock),
            seconds=SECONDS_BETWEEN_LOOKS * 2 if found["open_runs"] else CALM_SECONDS,
        )

    @app.get("/backfills")
    def backfills() -> str:
        found = desk.operator.ask("backfills", limit=BACKFILLS)["backfills"]
        at_work = any(each["state"] == "open" for each in found)
        return render_template(
            "backfills.html", backfills=found, seconds=SECONDS_BETWEEN_LOOKS * 2 if at_work else CALM_SECONDS
        )

    @app.get("/jobs/<job>/backfill")
    def backfill(job: str) -> "str | AnyResponse":
        keys = _past(request.args)
        asked, found = desk.at_once(
            lambda: desk.operator.ask("past", job=job, **keys), lambda: desk.operator.ask("overview", job=job)["jobs"]
        )
        return render_template("backfill.html", job=found[0], keys=keys, occurrences=asked["occurrences"])

    @app.get("/runs/<run_id>")
    def run(run_id: str) -> "str | AnyResponse":
        found = desk.run(run_id)
        declared = desk.declared(found["job"])
        work = desk.works.of_run(found["run_id"])
        at_work = found["finished_at"] is None
        page = render_template(
            "run.html",
            run=found,
            declared=declared,
            progress=run_progress(found, declared.changed if declared else None, desk.now()),
            plan=_plan(found),
            at_work=at_work,
            kept=kept_rows(found["counters"]),
            trouble=work.trouble if work else None,
            seconds=SECONDS_BETWEEN_LOOKS,
        )
        ended = "X-Live" in request.headers and not at_work
        return _go(url_for("run", run_id=run_id)) if ended else page

    @app.get("/work/<work_id>")
    def work(work_id: str) -> "str | AnyResponse":
        try:
            found = desk.works[work_id]
        except KeyError:
            raise RefusedError("nobody knows of this any more: see the runs of the job") from None
        if run_id := desk.works.find_run(found):
            return _go(url_for("run", run_id=run_id))
        if found.done:
            flash(f"{found.job} did not run: {found.trouble}", "bad")
            return _go(url_for("job", job=found.job))
        return render_template("work.html", work=found, seconds=SECONDS_TO_BEGIN if not found.done else 0)


def _act(app: Flask, desk: _Desk) -> None:
    """What the forms do. Each says in words what came of it, on the page where that is seen."""

    @app.post("/jobs/<job>/plan")
    def plan(job: str) -> "AnyResponse":
        return _started(desk, job, "plan", {"dry_run": True, **_given(desk, job)})

    @app.post("/jobs/<job>/run")
    def run_now(job: str) -> "AnyResponse":
        declared = desk.declared(job)
        if declared is None or declared.destructive:
            flash("What it deletes cannot be taken back: here is its plan. Look at it, and run it then.", "calm")
            return plan(job)
        return _started(desk, job, "run", _given(desk, job))

    @app.post("/runs/<run_id>/confirm")
    def confirm(run_id: str) -> "AnyResponse":
        planned = desk.run(run_id)
        if planned["outcome"] != "planned":
            raise RefusedError(f"run {run_id} is no plan that could be run: make a new one")
        return _started(desk, planned["job"], "run", {"parameters": planned["parameters"]})

    @app.post("/jobs/<job>/pause")
    @app.post("/pause", defaults={"job": None})
    def pause(job: str | None) -> "AnyResponse":
        given = request.form.get("until", "").strip()
        until = _instant(given, g.clock).isoformat() if given else None
        end = {"until": until} if until else {}
        done = desk.operator.change("pause", **_whom(job), **_who(), **end)
        when = f" until {g.clock.words(until)}" if until else ""
        so_long = "until then" if until else "until somebody resumes it" if job else "until somebody resumes them"
        before = job_words.replaced(done, g.clock.words)
        whose = "Its occurrences" if job else "Their occurrences"
        flash(f"{job_words.paused(job, when)} {whose} are left out {so_long}.{before}", "good")
        return redirect(_page_of(job), 303)

    @app.post("/jobs/<job>/resume")
    @app.post("/resume", defaults={"job": None})
    def resume(job: str | None) -> "AnyResponse":
        done = desk.operator.change("resume", **_whom(job), **_who())
        it = "It runs from its next occurrence on; a backfill runs those it left out."
        they = "They run from their next occurrences on; a backfill runs those that one left out."
        after = "" if done["paused"] else f" {it if job else they}"
        flash(job_words.resumed(job, done) + after, "good")
        return redirect(_page_of(job), 303)

    @app.post("/jobs/<job>/dial")
    def dial(job: str) -> "AnyResponse":
        done = desk.operator.change("dial", job=job, **_turned(), **_who())
        flash(job_words.turned(done), "good")
        return redirect(url_for("job", job=job), 303)

    @app.post("/jobs/<job>/backfill")
    def begin_backfill(job: str) -> "AnyResponse":
        asked = desk.operator.change("backfill", job=job, **_past(request.form), **_who())
        runs = sum(each["does"] != "keep" for each in asked["occurrences"])
        flash(
            f"{runs} of {len(asked['occurrences'])} occurrences of {job} run, the oldest first. The supervisor works "
            "them off, whether this page is open or not.",
            "good",
        )
        return redirect(url_for("job", job=job), 303)

    @app.post("/backfills/<backfill_id>/<any(pause, resume, cancel):what>")
    def change_backfill(backfill_id: str, what: str) -> "AnyResponse":
        who = {"by": _by()} if what == "resume" else _who()
        done = desk.operator.change(f"{what}_backfill", backfill_id=backfill_id, **who)["backfill"]
        flash(job_words.backfill_changed(done), "good")
        return redirect(url_for("backfills"), 303)

    @app.post("/runs/<run_id>/cancel")
    def cancel(run_id: str) -> "AnyResponse":
        done = desk.operator.change("cancel", run_id=run_id, **_who())["run"]
        flash(job_words.cancelled(done), "good")
        return redirect(url_for("run", run_id=run_id), 303)

    @app.post("/runs/<run_id>/redrive")
    def redrive(run_id: str) -> "AnyResponse":
        lifted = request.form.get("override_cap") == "yes"
        who = {**_who(), "override_cap": True} if lifted else {"by": _by()}
        opened = desk.operator.change("redrive", run_id=run_id, **who)["run"]
        desk.works.start(opened["job"], "redrive", {"run_id": opened["run_id"]}, run_id=opened["run_id"])
        flash(job_words.redriven(opened, lifted=lifted), "good")
        return redirect(url_for("run", run_id=opened["run_id"]), 303)


def _fail(app: Flask) -> None:
    """What goes wrong is told in words. Of a form, on the page that it stands on."""

    @app.errorhandler(RefusedError)
    def refused(error: RefusedError) -> "tuple[str, int] | AnyResponse":
        remedy = "See docs/operations.md." if isinstance(error, DatabaseDownError) else None
        return _said(str(error), remedy, 503 if isinstance(error, DatabaseDownError) else 400)

    @app.errorhandler(AwsError)
    def unreachable(error: AwsError) -> "tuple[str, int] | AnyResponse":
        return _said(str(error), "Then load the page again.", 502)

    @app.errorhandler(FunctionError)
    def broken(error: FunctionError) -> "tuple[str, int] | AnyResponse":
        return _said(f"The function ended with {error.kind}: {error}", "Its log group in CloudWatch tells more.", 502)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        g.clock = g.get("clock") or Clock.of(times.now(), None)
        missing = "There is no such page." if error.code == 404 else None
        page = render_template("error.html", what=missing or error.description, remedy=None)
        return make_response(page, error.code or 500)

    def _said(what: str, remedy: str | None, code: int) -> "tuple[str, int] | AnyResponse":
        what = what[:1].upper() + what[1:]
        # The form's own page comes back with the words, but only where that page can be asked for.
        if request.method == "POST" and (back := _page_of_the_form()) and code == 400:
            flash(f"Nothing was done: {what}", "bad")
            return redirect(back, 303)
        return render_template("error.html", what=what, remedy=remedy), code


def _page_of_the_form() -> str | None:
    given = request.view_args or {}
    if "run_id" in given:
        return url_for("run", run_id=given["run_id"])
    if "backfill_id" in given:
        return url_for("backfills")
    return url_for("job", job=given["job"]) if "job" in given else None


def _started(desk: _Desk, job: str, what: str, payload: Mapping[str, Any]) -> "AnyResponse":
    work = desk.works.start(job, what, payload)
    return redirect(url_for("work", work_id=work.id), 303)


def _go(address: str) -> "AnyResponse":
    """On to another page: the script follows the header, a browser the redirect."""
    if "X-Live" in request.headers:
        return Response(headers={GO: address})
    return redirect(address, 303)


def _given(desk: _Desk, job: str) -> dict[str, Any]:
    """Time and parameters of a form, checked here first: that is faster and clearer. Empty fields are as deployed."""
    payload: dict[str, Any] = {}
    if at := request.form.get("at", "").strip():
        payload["scheduled_for"] = past(_instant(at, g.clock).isoformat(), "the time").isoformat()
    fields = {name.removeprefix("param."): value.strip() for name, value in request.form.items() if "param." in name}
    given = {name: value for name, value in fields.items() if value}
    if given:
        try:
            resolved = known_jobs.known(job).job.resolve(given)
        except ValueError as error:  # SettingError is one
            raise RefusedError(str(error)) from None
        payload["parameters"] = {name: resolved[name] for name in given}
    return payload


def _turned() -> dict[str, Any]:
    """The dials that a form turns. Empty fields stay as they are."""
    read: dict[str, Callable[[str], Any]] = {
        "rows_per_second": float,
        "largest_batch": int,
        "pause_seconds": float,
        "hours": str,
        "held": lambda text: text == "yes",
    }
    given = {name: request.form.get(name, "").strip() for name in read}
    try:
        turned = {name: read[name](text) for name, text in given.items() if text}
    except ValueError:
        raise RefusedError("rows per second, rows of a batch and seconds are numbers, like 500 or 0.2") from None
    return turned | ({"reset": True} if request.form.get("reset") == "yes" else {})


def _by() -> str:
    """Who does it. The name is kept for the next form."""
    name = request.form.get("by", "").strip()
    if name:
        session["by"] = name[:200]
    return name


def _who() -> dict[str, str]:
    """Who does it, and why, as a change needs it."""
    return {"by": _by(), "reason": request.form.get("reason", "")}


def _whom(job: str | None) -> dict[str, Any]:
    """One job, or all of them."""
    return {"all": True} if job is None else {"job": job}


def _page_of(job: str | None) -> str:
    return url_for("jobs") if job is None else url_for("job", job=job)


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""


def _instant(text: str, clock: Clock) -> dt.datetime:
    """What a field for date and time says, in the viewer's zone; or an instant with a zone of its own."""
    try:
        given = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise RefusedError(f"{text!r} is not a time: write it like 2026-03-02T09:00") from None
    return (given if given.tzinfo else given.replace(tzinfo=clock.zone)).astimezone(dt.UTC)


def _past(given: Mapping[str, str]) -> dict[str, str]:
    """From when to when a backfill goes, and what it runs again, as console and control are asked."""
    since, until = (_instant(given.get(key, ""), g.clock) for key in ("from", "to"))
    if since >= until:
        raise RefusedError("the end comes after the start: turn the two times round")
    if until > times.now():
        raise RefusedError("the end is in the future: a backfill is for past occurrences")
    again = given.get("reprocess", "")
    return {"since": since.isoformat(), "until": until.isoformat(), **({"reprocess": again} if again else {})}


def _times_of_day(clock: Clock) -> Callable[[Mapping[str, Any]], str | None]:
    """Says of a job at which times of the viewer's day it runs, where they are few."""

    def here(job: Mapping[str, Any]) -> str | None:
        if clock.offset == "UTC" or not job["enabled"]:
            return None
        start = clock.now
        return clock.times_of_day(job_words.occurrences(job, start, start + dt.timedelta(hours=24)))

    return here


def _plan(run: Mapping[str, Any]) -> list[Any]:
    """The plan as the command tells it, without the hint at commands: the page has a form for it."""
    if not run["plan"]:
        return []
    parts = plan_views.plan(run["plan"], run["scheduled_for"], as_tree=True)
    return [part for part in parts if str(part) != plan_views.NEXT]
