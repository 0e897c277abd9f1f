"""The page of `nightshift web`, with a deployment of the test's own in place of AWS: who may come in, what is said."""

import datetime as dt
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, ClassVar

import pytest
from jinja2.bccache import Bucket, BytecodeCache
from typer.testing import CliRunner
from werkzeug.test import Client, TestResponse

from cli.aws import AwsError, FunctionError
from cli.backfill_progress import backfill_progress
from cli.commands import application
from cli.deployment import Operator
from cli.web.clock import Clock
from cli.web.day import day
from cli.web.page import make_page

JOB, CHECK = "abandoned-carts", "shop-check"
"""The one deletes, the other does not."""

PORT, TOKEN = 8321, "a-token"
HOST = f"127.0.0.1:{PORT}"
RUN, PLAN = "0123abcd-0000-4000-8000-000000000001", "0123abcd-0000-4000-8000-000000000002"
BACKFILL = "0123abcd-0000-4000-8000-000000000003"
NEW_RUN = "0123abcd-0000-4000-8000-000000000004"
"""The id that the page gives to a run which it starts."""

NOW = dt.datetime(2026, 3, 11, 12, 0, tzinfo=dt.UTC)
VILLAIN = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
TIMES = {"scheduled_for": "2026-03-11T02:00:00Z", "started_at": "2026-03-11T02:00:01Z"}


ATTEMPT = {
    "epoch": 1,
    "request_id": "r-1",
    "started_at": "2026-03-11T02:00:01Z",
    "ended_at": "2026-03-11T02:00:03Z",
    "ending": "failed",
    "error": "out of luck",
}


COMMAND: dict[str, Any] = {
    "at": "2026-03-11T09:00:00Z",
    "command": "redrive",
    "job": "abandoned-carts",
    "run_id": "0123abcd-0000-4000-8000-000000000001",
    "by": "Ada",
    "caller": None,
    "request_id": "r-2",
    "reason": "mended",
    "arguments": {},
    "result": "done",
}


def run(**facts: Any) -> dict[str, Any]:
    told = {
        **TIMES,
        "run_id": RUN,
        "job": JOB,
        "trigger": "schedule",
        "mode": "apply",
        "forced": False,
        "outcome": "failed",
        "reason": "ValueError: out of luck",
        "finished_at": "2026-03-11T02:00:03Z",
        "duration_ms": 2000,
        "attempt": 3,
        "max_attempts": 3,
        "counters": {"deleted": 1200, "batches": 3, "quarantined": 2, "referenced": 14},
        "errors": ["ValueError: out of luck"],
        "request_id": "r-1",
        "parameters": {"retention_days": 30},
        "override": None,
        "lease_until": None,
        "step": "delete-carts",
        "candidates": {"delete-carts": 4000},
        "plan": None,
        "notes": ["the index carts_old is not used"],
        "attempts": [ATTEMPT],
        "quarantined": [{"step": "delete-carts", "item": "public.carts/7", "error": "held by an order"}],
    }
    return {**told, **facts}


def job(name: str = JOB, **facts: Any) -> dict[str, Any]:
    told = {
        "job": name,
        "pack": "market",
        "kind": "retention",
        "critical": False,
        "rule": "Delete abandoned carts.",
        "schedule": "cron(0 2 * * ? *)",
        "enabled": True,
        "next_run": "2026-03-12T02:00:00Z",
        "paused": None,
        "running": False,
        "open_runs": [],
        "last_run": run(job=name, outcome="succeeded", reason=None, counters={"deleted": 5}),
        "last_success": "2026-03-11T02:00:03Z",
        "totals": {"succeeded": 7},
        "parameters": {"retention_days": 45},
        "health": {"job": name, "status": "healthy", "reason": None},
        "history": [
            {**TIMES, "run_id": RUN, "outcome": "succeeded", "duration_ms": 2000 + n, "changed": n} for n in range(3)
        ],
    }
    return {**told, **facts}


STEP = {"step": "delete-carts", "table": "public.carts", "action": "delete", "rows": 1200, "of": 2000, "sample": ["7"]}
CASCADE = {"table": "public.cart_items", "action": "delete", "rows": 2400, "through": "public.carts"}
PLANNED = run(
    run_id=PLAN,
    mode="plan",
    outcome="planned",
    reason=None,
    plan={"steps": [{**STEP, "cascades": [CASCADE]}], "over_cap": []},
)


def backfill(**facts: Any) -> dict[str, Any]:
    told = {
        "backfill_id": BACKFILL,
        "job": JOB,
        "schedule": "cron(0 2 * * ? *)",
        "timezone": None,
        "since": "2026-02-01T00:00:00Z",
        "until": "2026-03-03T00:00:00Z",
        "reprocess": "none",
        "state": "open",
        "told": None,
        "occurrences": 30,
        "done": 12,
        "counts": {"succeeded": 8, "failed": 2, "kept": 2},
        "run_id": RUN,
        "by": "Ada",
        "reason": "late rows",
        "created_at": "2026-03-11T10:00:00Z",
        "finished_at": None,
    }
    return {**told, **facts}


@dataclass
class Deployed:
    """A deployment that gives each function and question its answer, or error, and remembers what it was asked."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        name = function.removeprefix("nightshift-")
        what = str(payload.get("query") or payload.get("command") or name)
        self.asked.append((name, dict(payload)))
        answer = self.answers.get(what, {"error": f"nobody has an answer to {what}"})
        if isinstance(answer, Exception):
            raise answer
        return json.loads(json.dumps(answer))  # type: ignore[no-any-return]

    def told(self, name: str) -> list[dict[str, Any]]:
        return [payload for function, payload in self.asked if function == name]


class Compiled(BytecodeCache):
    """Templates that were compiled for one page serve for the next: each test makes its own."""

    kept: ClassVar[dict[str, Any]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self.kept.get(bucket.key + bucket.checksum)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key + bucket.checksum] = bucket.code


class Visitor:
    """A browser that was handed the address, and sends forms as the page gives them."""

    def __init__(self, deployed: Deployed, *, once: str | None = None, **cookies: str) -> None:
        self.app = make_page(Operator(deployed), port=PORT, token=TOKEN, once=once, now=lambda: NOW)
        self.app.jinja_env.bytecode_cache = Compiled()
        self.client = Client(self.app, TestResponse)
        for name, value in cookies.items():
            self.client.set_cookie(name, value, domain="127.0.0.1")
        self.form = ""

    def come_in(self) -> "Visitor":
        assert self.get(f"/?token={TOKEN}").status_code == 303
        return self

    def get(self, path: str, **headers: str) -> TestResponse:
        answer = self.client.get(path, headers={"Host": HOST, **headers})
        if found := re.search(r'name="form" value="([^"]+)"', answer.text):
            self.form = found[1]
        return answer

    def send(self, path: str, *, origin: str | None = f"http://{HOST}", **fields: str) -> TestResponse:
        headers = {"Host": HOST, **({"Origin": origin} if origin else {})}
        return self.client.post(path, data={"form": self.form, **fields}, headers=headers)

    def after(self, answer: TestResponse) -> str:
        """What the page says to which an answer leads."""
        assert answer.status_code == 303, answer.text
        return self.get(answer.headers["Location"]).text


@pytest.fixture(autouse=True)
def one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.starting.new_id", lambda: NEW_RUN)


@pytest.fixture
def deployed() -> Deployed:
    past = [
        {"scheduled_for": "2026-03-01T02:00:00Z", "outcome": "succeeded", "does": "keep"},
        {"scheduled_for": "2026-03-02T02:00:00Z", "outcome": None, "does": "run"},
    ]
    return Deployed(
        {
            **{"overview": {"jobs": [job()], "others": []}, "runs": {"runs": [run()]}, "run": {"run": run()}},
            **{"past": {"occurrences": past}, "backfill": {"occurrences": past, "backfill": {}}},
            "backfills": {"backfills": [backfill()]},
        }
    )


@pytest.fixture
def visitor(deployed: Deployed) -> Visitor:
    guest = Visitor(deployed).come_in()
    guest.get(f"/jobs/{JOB}")  # a page with forms
    deployed.asked.clear()
    return guest


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of headings and status."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


PAGES = [
    "/",
    "/day",
    "/runs",
    f"/jobs/{JOB}",
    f"/runs/{RUN}",
    f"/jobs/{JOB}/backfill?from=2026-03-01T00:00&to=2026-03-03T00:00",
    "/backfills",
]


# Who may come in.


def test_nobody_comes_in_without_the_token(deployed: Deployed) -> None:
    for path in PAGES:
        answer = Visitor(deployed).get(path)
        assert answer.status_code == 401
        assert "Open the address that nightshift web has printed" in answer.text
    assert Visitor(deployed).get("/?token=a-tokem").status_code == 401
    assert Visitor(deployed).send(f"/jobs/{JOB}/pause", by="Ada", reason="none").status_code == 401
    assert deployed.asked == []


def test_the_token_leaves_the_address_and_becomes_a_cookie_for_this_page_alone(deployed: Deployed) -> None:
    answer = Visitor(deployed).get(f"/day?token={TOKEN}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/day")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"nightshift-{PORT}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie


def test_the_token_that_opens_the_browser_lets_in_one_only(deployed: Deployed) -> None:
    guest, other = (Visitor(deployed, once="for-one") for _ in range(2))
    other.app, other.client = guest.app, Client(guest.app, TestResponse)
    assert guest.get("/?token=for-one").status_code == 303
    assert guest.get("/").status_code == 200
    assert other.get("/?token=for-one").status_code == 401
    assert other.get(f"/?token={TOKEN}").status_code == 303


def test_a_cookie_of_an_earlier_page_is_worth_nothing(visitor: Visitor, deployed: Deployed) -> None:
    cookie = visitor.client.get_cookie(f"nightshift-{PORT}", domain="127.0.0.1")
    assert cookie is not None
    assert Visitor(deployed, **{f"nightshift-{PORT}": cookie.value}).get("/").status_code == 401


@pytest.mark.parametrize(
    "host",
    ["nightshift.example.com", f"rebound.example.com:{PORT}", "127.0.0.1", "127.0.0.1:80", f"10.0.0.1:{PORT}", ""],
)
def test_another_name_for_this_machine_is_refused(visitor: Visitor, deployed: Deployed, host: str) -> None:
    for answer in (visitor.get("/", Host=host), visitor.get(f"/?token={TOKEN}", Host=host)):
        assert answer.status_code in (400, 421)
        assert "Set-Cookie" not in answer.headers
    assert deployed.asked == []


@pytest.mark.parametrize("host", [f"localhost:{PORT}", f"[::1]:{PORT}"])
def test_the_names_of_loopback_are_let_in(visitor: Visitor, host: str) -> None:
    assert visitor.get(f"/?token={TOKEN}", Host=host).status_code == 303


FORMS = {
    f"/jobs/{JOB}/plan": {},
    f"/jobs/{JOB}/run": {},
    f"/jobs/{JOB}/pause": {"by": "Ada", "reason": "a move"},
    f"/jobs/{JOB}/resume": {"by": "Ada", "reason": "moved"},
    "/pause": {"by": "Ada", "reason": "a move"},
    "/resume": {"by": "Ada", "reason": "moved"},
    f"/jobs/{JOB}/dial": {"by": "Ada", "reason": "a busy evening", "held": "yes"},
    f"/jobs/{JOB}/backfill": {
        **{"from": "2026-03-01T00:00", "to": "2026-03-03T00:00"},
        **{"by": "Ada", "reason": "late rows"},
    },
    f"/backfills/{BACKFILL}/pause": {"by": "Ada", "reason": "a move"},
    f"/backfills/{BACKFILL}/resume": {"by": "Ada"},
    f"/backfills/{BACKFILL}/cancel": {"by": "Ada", "reason": "a mistake"},
    f"/runs/{RUN}/cancel": {"by": "Ada", "reason": "a mistake"},
    f"/runs/{RUN}/redrive": {"by": "Ada"},
    f"/runs/{PLAN}/confirm": {},
}


def test_every_form_of_the_page_is_tried_below(visitor: Visitor) -> None:
    posts = {rule.endpoint for rule in visitor.app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    addresses = visitor.app.url_map.bind(HOST)
    assert {addresses.match(path, method="POST")[0] for path in FORMS} == posts


@pytest.mark.parametrize(("path", "fields"), FORMS.items(), ids=lambda given: str(given))
@pytest.mark.parametrize(
    "forged",
    [{"form": "guessed"}, {"form": ""}, {"origin": "https://example.com"}, {"origin": None}, {"origin": "null"}],
    ids=str,
)
def test_a_form_of_another_page_changes_nothing(
    visitor: Visitor, deployed: Deployed, path: str, fields: dict[str, str], forged: dict[str, Any]
) -> None:
    answer = visitor.send(path, **{**fields, **forged})
    assert answer.status_code == 403
    assert "Nothing was done" in answer.text
    assert deployed.asked == []


@pytest.mark.parametrize("path", FORMS)
def test_a_link_changes_nothing(visitor: Visitor, deployed: Deployed, path: str) -> None:
    assert visitor.get(path).status_code in (400, 405)  # 400: the address of a backfill also shows its occurrences
    assert {function for function, _ in deployed.asked} <= {"console"}


@pytest.mark.parametrize("path", [*PAGES, "/nowhere", "/files/style.css", "/files/live.js"])
def test_every_answer_has_strict_headers(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)
    answer.close()  # a file is open until then
    headers = answer.headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect", "img")} == {"'self'"}
    assert policy["form-action"] == "'self'"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_no_exception_from_the_policy(visitor: Visitor, path: str) -> None:
    for tag, attributes in Elements(visitor.get(path).text).found:
        assert tag != "style"
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "script" or attributes["src"]
        for where in ("src", "href", "action"):
            assert not str(attributes.get(where) or "/").startswith(("http", "//", "javascript"))


# The command.


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command has served and opened, without serving it."""
    seen: list[Any] = []

    class Server:
        def __init__(self, page: Any, *, sockets: list[socket.socket], threads: int) -> None:
            seen.extend(listening.getsockname() for listening in sockets)
            for listening in sockets:
                listening.close()

        def run(self) -> None:
            seen.append("running")

    monkeypatch.setattr("waitress.server.create_server", Server)
    monkeypatch.setattr("webbrowser.open", seen.append)
    return seen


def test_the_command_listens_on_loopback_and_prints_where(served: list[Any]) -> None:
    said = CliRunner().invoke(application, ["web", "--port", "0", "--no-open"], obj=Deployed())
    [(host, port), running] = served
    assert (said.exit_code, host, running) == (0, "127.0.0.1", "running")
    assert re.search(rf"http://127\.0\.0\.1:{port}/\?token=[\w-]{{32}}$", said.stdout, re.MULTILINE)


def test_the_address_that_it_opens_is_not_the_one_that_it_prints(served: list[Any]) -> None:
    said = CliRunner().invoke(application, ["web", "--port", "0"], obj=Deployed())
    [_, opened, _] = served
    assert opened.startswith("http://127.0.0.1:")
    assert opened not in said.stdout


def test_a_port_that_somebody_has_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = CliRunner().invoke(application, ["web", "--port", str(port), "--no-open"], obj=Deployed())
    assert said.exit_code == 2
    assert said.stderr == (
        f"port {port} cannot be used (another program listens there): choose another one with --port, or any with "
        "--port 0\n"
    )


# What strangers write.


@pytest.mark.parametrize("path", [*PAGES, f"/runs/{PLAN}"])
def test_what_strangers_write_is_text(path: str) -> None:
    told = run(
        reason=VILLAIN,
        errors=[VILLAIN],
        step=VILLAIN,
        counters={VILLAIN: 1, "quarantined": 1},
        candidates={VILLAIN: 9},
        parameters={VILLAIN: 1},
        override={"by": VILLAIN, "reason": VILLAIN},
        attempts=[{**ATTEMPT, "error": VILLAIN, "request_id": VILLAIN}],
        quarantined=[{"step": VILLAIN, "item": VILLAIN, "error": VILLAIN}],
        anomalies={"slow": VILLAIN, VILLAIN: VILLAIN},
        commands=[{**COMMAND, **dict.fromkeys(("command", "by", "caller", "reason", "result"), VILLAIN)}],
    )
    filling = backfill(**dict.fromkeys(("job", "state", "told", "by", "reason", "backfill_id"), VILLAIN))
    if path.endswith(PLAN):
        step = {**STEP, "step": VILLAIN, "table": VILLAIN, "sample": [VILLAIN], "missing": [VILLAIN], "way": VILLAIN}
        told |= {"outcome": "planned", "mode": "plan", "plan": {"steps": [step], "over_cap": [VILLAIN]}}
    paused = {"at": TIMES["started_at"], "by": VILLAIN, "reason": VILLAIN}
    hostile = job(
        VILLAIN,
        **{"rule": VILLAIN, "pack": VILLAIN, "paused": paused, "last_run": told, "commands": told["commands"]},
        open_runs=[{**told, "outcome": "retrying"}],
        backfills=[filling, {**filling, "state": "paused"}],
    )
    answers = {
        "overview": {"jobs": [hostile], "others": [{"job": VILLAIN, "reason": VILLAIN}]},
        "runs": {"runs": [told]},
        "run": {"run": told},
        "past": {"occurrences": [{"scheduled_for": "2026-03-01T02:00:00Z", "outcome": VILLAIN, "does": "keep"}]},
        "backfills": {"backfills": [filling]},
    }
    page = Visitor(Deployed(answers)).come_in().get(path).text
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page
    tags = [tag for tag, attributes in Elements(page).found if tag == "script" or "onerror" in attributes]
    assert tags == ["script"]
    assert [attributes for tag, attributes in Elements(page).found if tag == "img" and attributes["src"] == "x"] == []


def test_a_hostile_answer_to_a_form_is_text(visitor: Visitor, deployed: Deployed) -> None:
    deployed.answers["pause"] = {"error": VILLAIN}
    page = visitor.after(visitor.send(f"/jobs/{JOB}/pause", by="Ada", reason="a move"))
    assert "Nothing was done: &lt;script&gt;" in page
    assert "<script>alert" not in page


# What the pages say.


def test_what_needs_attention_comes_first(deployed: Deployed) -> None:
    well, ill = job("a-well-one"), job("z-ill-one", last_run=run(job="z-ill-one"))
    wrong = {"job": "wrong-one", "reason": "its settings make no sense: retention_days must be a whole number"}
    late = job("late-one", health={"job": "late-one", "status": "degraded", "reason": "no success within 48 h"})
    paused = job("b-paused-one", paused={"at": TIMES["started_at"], "by": "Ada", "reason": "a move"})
    deployed.answers["overview"] = {"jobs": [well, paused, late, ill], "others": [wrong]}
    page = Visitor(deployed).come_in().get("/").text
    order = [page.index(f">{name}</") for name in ("wrong-one", "late-one", "z-ill-one", "b-paused-one", "a-well-one")]
    assert order == sorted(order)
    assert "4 jobs need attention" in page
    for words in (
        "The last run failed",
        "ValueError: out of luck",
        "no success within 48 h",
        "by Ada: a move",
        "retention_days must be",
    ):
        assert words in page


def test_a_calm_night_says_so(deployed: Deployed) -> None:
    assert "All is well" in Visitor(deployed).come_in().get("/").text


def test_a_schedule_is_told_in_words_and_by_the_viewers_clock(deployed: Deployed) -> None:
    page = Visitor(deployed, zone="Asia/Kolkata").come_in().get("/").text
    assert "every day at 02:00 UTC" in page
    assert "here at 07:30" in page
    assert "Asia/Kolkata" in page
    assert "(UTC+5:30)" in page
    assert "Thu 07:30</time>" in page


UNUSUAL = {"slow": "it has taken 400 s, and usually takes 20 s", "many": "it has touched 90,000 rows"}


def test_what_is_unusual_about_runs_needs_attention(deployed: Deployed) -> None:
    last = run(outcome="succeeded", reason=None, counters={}, anomalies=UNUSUAL)
    at_work = run(run_id=PLAN, outcome="running", finished_at=None, anomalies={"slow": UNUSUAL["slow"]})
    ill = [job("one", last_run=last), job("other", running=True, open_runs=[at_work])]
    deployed.answers |= {"overview": {"jobs": ill, "others": []}, "runs": {"runs": [last]}, "run": {"run": last}}
    guest = Visitor(deployed).come_in()
    page = guest.get("/").text
    assert "2 jobs need attention" in page
    assert "The last run is unusual: slow, far more than usual" in page
    assert "it has taken 400 s, and usually takes 20 s; it has touched 90,000 rows" in page
    assert "A run at work is unusual: slow" in page
    deployed.answers["overview"] = {"jobs": ill[:1], "others": []}
    assert "The last run is unusual: slow, far more than usual" in guest.get("/jobs/one").text
    assert ">slow</span>" in guest.get("/runs").text
    told = guest.get(f"/runs/{RUN}").text
    assert "It is unusual: far more than usual.</strong> It has touched 90,000 rows." in told


def test_a_backfill_that_waits_for_somebody_needs_attention(deployed: Deployed) -> None:
    why = f"its run {RUN} of 2026-02-13T02:00:00Z is failed: out of luck"
    waits = job(backfills=[backfill(state="paused", told=why), backfill(backfill_id=PLAN)])
    deployed.answers["overview"] = {"jobs": [waits], "others": []}
    guest = Visitor(deployed).come_in()
    page = guest.get("/").text
    assert "1 job needs attention" in page
    assert page.count("A backfill is paused") == 1
    assert why in page
    assert f'href="/backfills#b-{BACKFILL}"' in page
    page = guest.get(f"/jobs/{JOB}").text
    assert page.count('<div class="progress" id="at-') == 2


def test_the_page_tells_who_did_what(deployed: Deployed) -> None:
    told: dict[str, Any] = {
        "commands": [{**COMMAND, "arguments": {"override_cap": True}, "caller": "arn:aws:iam::1:user/ada"}]
    }
    deployed.answers |= {"overview": {"jobs": [job(**told)], "others": []}, "run": {"run": run(**told)}}
    guest = Visitor(deployed).come_in()
    for path in (f"/jobs/{JOB}", f"/runs/{RUN}"):
        page = guest.get(path).text
        for words in ("Who did what", "redrive, cap lifted", "Ada", "mended", "arn:aws:iam::1:user/ada"):
            assert words in page


def test_all_is_not_well_while_the_supervisor_is_silent(deployed: Deployed) -> None:
    deployed.answers["overview"]["supervisor"] = {"last_round": "2026-03-11T09:00:00Z", "silent": True}
    guest = Visitor(deployed).come_in()
    page = guest.get("/").text
    assert "<h1>The supervisor is silent</h1>" in page
    assert "3 h ago" in page
    assert "All is well" not in page
    deployed.answers["overview"]["supervisor"]["silent"] = False
    assert "<h1>All is well</h1>" in guest.get("/").text


@pytest.mark.parametrize("zone", ["../../etc/passwd", VILLAIN, "Mars/Olympus", ""])
def test_a_zone_that_nobody_knows_is_that_of_this_machine(zone: str) -> None:
    assert Clock.of(NOW, zone).name == Clock.of(NOW, None).name


def test_a_drawing_is_told_in_words(deployed: Deployed) -> None:
    page = Visitor(deployed).come_in().get("/").text
    assert "Durations of the last 3 runs: from 2.0 s to 2.0 s, the last 2.0 s" in page
    assert "Rows of the last 3 runs: from 0 rows to 2 rows, the last 2 rows" in page


def test_a_job_tells_policy_and_parameters_with_their_limits(visitor: Visitor) -> None:
    page = visitor.get(f"/jobs/{JOB}").text
    for words in (
        "the latest is caught up; an overlapping one is skipped",
        "retention_days",
        "at least 7 days",
        ">45<",
    ):
        assert words in page


def test_a_run_tells_why_it_failed_and_what_it_left(visitor: Visitor) -> None:
    page = visitor.get(f"/runs/{RUN}").text
    for words in (
        *(
            "Why it failed",
            "ValueError: out of luck",
            "public.carts/7",
            "held by an order",
            "other rows refer to them",
            "carts_old",
        ),
        *("1,216 of 4,000 rows", "3 of 3", "retention_days 30"),
    ):
        assert words in page


def test_the_facts_of_a_run_are_kept_fresh_while_it_is_at_work(deployed: Deployed) -> None:
    guest = Visitor(deployed).come_in()
    assert '<dl class="facts" id="facts">' in guest.get(f"/runs/{RUN}").text
    deployed.answers["run"] = {"run": run(outcome="running", finished_at=None)}
    page = guest.get(f"/runs/{RUN}").text
    assert '<dl class="facts" id="facts" data-live="2">' in page
    assert "<dt>Batches</dt><dd>3</dd>" in page


def test_a_cap_is_lifted_only_where_a_run_has_stopped_at_one(deployed: Deployed) -> None:
    guest = Visitor(deployed).come_in()
    assert "Lift the cap" not in guest.get(f"/runs/{RUN}").text
    told = f"max_rows is 100; nightshift redrive {RUN} --override-cap --by … --reason …"
    deployed.answers["run"] = {"run": run(reason=told)}
    assert "Lift the cap and redrive" in guest.get(f"/runs/{RUN}").text


def test_progress_tells_rate_and_time_left(deployed: Deployed) -> None:
    started = (NOW - dt.timedelta(seconds=100)).isoformat()
    counters = {"deleted": 1000, "batches": 3}
    deployed.answers["run"] = {
        "run": run(outcome="running", reason=None, finished_at=None, started_at=started, counters=counters)
    }
    page = Visitor(deployed).come_in().get(f"/runs/{RUN}").text
    assert "1,000 of 4,000 rows, 10 a second, about 5 min 0 s left" in page
    assert '<progress id="bar" max="4000" value="1000">' in page
    assert "Cancel the run" in page


def test_a_plan_is_a_tree_and_leads_to_its_run(deployed: Deployed) -> None:
    deployed.answers["run"] = {"run": PLANNED}
    page = Visitor(deployed).come_in().get(f"/runs/{PLAN}").text
    text = re.sub(r"<[^>]+>", "", page)
    assert "public.carts: delete 1,200 of 2,000 rows (60 %)" in text
    assert "public.cart_items: delete 2,400 rows by cascade" in text
    assert (
        page.index("public.carts")
        < page.index("<ul><li>", page.index("public.carts"))
        < page.index("public.cart_items")
    )
    assert "Run it as planned" in page


def test_a_plan_over_its_cap_cannot_be_confirmed(deployed: Deployed) -> None:
    over = {"steps": [STEP], "over_cap": ["max_rows is 100"]}
    deployed.answers["run"] = {"run": {**PLANNED, "plan": over}}
    page = Visitor(deployed).come_in().get(f"/runs/{PLAN}").text
    assert "max_rows is 100" in page
    assert "Run it as planned" not in page


# What the forms do.


@pytest.fixture
def waits() -> Iterator[Callable[[], None]]:
    """Waits until everything that was set in motion is at its end."""

    def wait() -> None:
        for thread in threading.enumerate():
            if thread.name.startswith("nightshift-web-"):
                thread.join(10)

    yield wait
    wait()


def test_a_second_pause_tells_whose_it_has_replaced(visitor: Visitor, deployed: Deployed) -> None:
    before = {"by": "Ben", "at": "2026-03-11T09:00:00Z", "reason": "a new <index>"}
    deployed.answers["pause"] = {"job": JOB, "paused": {}, "replaced": before}
    page = visitor.after(visitor.send(f"/jobs/{JOB}/pause", by="Ada", reason="a move"))
    assert "It replaces the pause by Ben from " in page
    assert ": a new &lt;index&gt;." in page


def test_pause_and_resume_say_what_came_of_it(visitor: Visitor, deployed: Deployed) -> None:
    deployed.answers |= {"pause": {"job": JOB, "paused": {}}, "resume": {"job": JOB, "paused": None}}
    page = visitor.after(visitor.send(f"/jobs/{JOB}/pause", by="Ada", reason="a move"))
    assert f"{JOB} is paused." in page
    assert deployed.told("control") == [{"command": "pause", "job": JOB, "by": "Ada", "reason": "a move"}]
    assert 'value="Ada"' in page, "the name is kept for the next form"
    assert f"{JOB} is not paused." in visitor.after(visitor.send(f"/jobs/{JOB}/resume", by="Ada", reason="moved"))
    assert deployed.told("control")[1:] == [{"command": "resume", "job": JOB, "by": "Ada", "reason": "moved"}]


def test_the_dials_are_turned_and_told(visitor: Visitor, deployed: Deployed) -> None:
    stand = {"rows_per_second": 500.0, "largest_batch": 2000, "pause_seconds": None, "hours": None, "held": True}
    deployed.answers["dial"] = {
        "job": JOB,
        "dials": stand,
        "held_because": "held by Ada: a busy evening",
        "changes": [],
    }
    fields = {"rows_per_second": "500", "largest_batch": "2000", "pause_seconds": "", "hours": "", "held": "yes"}
    page = visitor.after(visitor.send(f"/jobs/{JOB}/dial", by="Ada", reason="a busy evening", **fields))
    assert f"The dials of {JOB} stand at: rows per second 500, largest batch 2000 rows." in page
    assert "It is held: held by Ada: a busy evening." in page
    asked = {"rows_per_second": 500.0, "largest_batch": 2000, "held": True, "by": "Ada", "reason": "a busy evening"}
    assert deployed.told("control") == [{"command": "dial", "job": JOB, **asked}]


def test_a_dial_that_is_no_number_is_refused(visitor: Visitor, deployed: Deployed) -> None:
    page = visitor.after(visitor.send(f"/jobs/{JOB}/dial", by="Ada", reason="x", rows_per_second="many"))
    assert "Nothing was done: Rows per second, rows of a batch and seconds are numbers" in page
    assert deployed.told("control") == []


def test_what_keeps_a_job_or_a_run_from_its_work_is_told(deployed: Deployed) -> None:
    strain = {"state": "throttled", "why": "replicas are 40 s behind", "since": TIMES["started_at"]}
    slow = run(outcome="running", reason=None, finished_at=None, strain=strain)
    frozen = job("frozen-one", frozen={"until": "2026-03-12T06:00:00Z", "reason": "the sale"})
    paused = job("paused-one", paused={"at": TIMES["started_at"], "by": "Ada", "reason": "a move", "all": True})
    deployed.answers |= {
        "overview": {"jobs": [frozen, paused, job(running=True, open_runs=[slow])], "others": []},
        "run": {"run": slow},
    }
    guest = Visitor(deployed, zone="Europe/Berlin").come_in()
    page = guest.get("/").text
    for words in (
        *("until Thu 07:00: the sale", "with all jobs by Ada: a move"),
        *("A run is throttled", "replicas are 40 s behind"),
    ):
        assert words in page
    assert "It is throttled" in guest.get(f"/runs/{RUN}").text


def test_the_pause_of_all_jobs_outlasts_that_of_one(visitor: Visitor, deployed: Deployed) -> None:
    deployed.answers["resume"] = {"job": JOB, "paused": {"by": "Ada", "reason": "a move", "all": True}}
    page = visitor.after(visitor.send(f"/jobs/{JOB}/resume", by="Ada", reason="moved"))
    assert f"{JOB} itself is not paused, and all jobs are." in page


def test_all_jobs_are_paused_and_resumed_at_once(visitor: Visitor, deployed: Deployed) -> None:
    deployed.answers |= {"pause": {"job": None, "paused": {}}, "resume": {"job": None, "paused": None}}
    page = visitor.after(visitor.send("/pause", by="Ada", reason="a move", until="2026-03-12T08:30"))
    assert "Every job is paused until Thu 08:30" in page
    assert "Resume all jobs" not in page
    of_all = {"at": TIMES["started_at"], "by": "Ada", "reason": "a move", "all": True}
    deployed.answers["overview"] = {"jobs": [job("one", paused=of_all), job("two")], "others": []}
    assert "Pause all jobs" not in visitor.get("/").text
    assert "The pause of all jobs has ended." in visitor.after(visitor.send("/resume", by="Ada", reason="moved"))
    paused, resumed = deployed.told("control")
    assert paused == {
        "command": "pause",
        "all": True,
        "by": "Ada",
        "reason": "a move",
        "until": "2026-03-12T08:30:00+00:00",
    }
    assert resumed == {"command": "resume", "all": True, "by": "Ada", "reason": "moved"}


def test_a_pause_ends_by_itself_at_the_viewers_time(deployed: Deployed) -> None:
    deployed.answers["pause"] = {"job": JOB, "paused": {}}
    guest = Visitor(deployed, zone="Asia/Kolkata").come_in()
    guest.get(f"/jobs/{JOB}")
    page = guest.after(guest.send(f"/jobs/{JOB}/pause", by="Ada", reason="a move", until="2026-03-12T08:30"))
    assert f"{JOB} is paused until Thu 08:30. Its occurrences are left out until then." in page
    [asked] = deployed.told("control")
    assert asked["until"] == "2026-03-12T03:00:00+00:00"


def test_a_refusal_of_control_is_told_where_the_form_is(visitor: Visitor, deployed: Deployed) -> None:
    deployed.answers["cancel"] = {"error": "run 0123abcd has ended"}
    page = visitor.after(visitor.send(f"/runs/{RUN}/cancel", by="Ada", reason="a mistake"))
    assert "Nothing was done: Run 0123abcd has ended" in page


def test_a_run_is_cancelled(visitor: Visitor, deployed: Deployed) -> None:
    deployed.answers["cancel"] = {"run": run(outcome="cancelled")}
    page = visitor.after(visitor.send(f"/runs/{RUN}/cancel", by="Ada", reason="a mistake"))
    assert f"The run of {JOB} is cancelled." in page
    assert deployed.told("control") == [{"command": "cancel", "run_id": RUN, "by": "Ada", "reason": "a mistake"}]


@pytest.mark.parametrize(
    ("fields", "keys", "words"),
    [
        ({}, {}, f"The run of {JOB} goes on where it stopped."),
        (
            {"override_cap": "yes", "reason": "first clean-up"},
            {"override_cap": True, "reason": "first clean-up"},
            f"The run of {JOB} goes on where it stopped, with its cap lifted this once.",
        ),
    ],
)
def test_a_redrive_goes_on_with_the_run(
    visitor: Visitor,
    deployed: Deployed,
    waits: Callable[[], None],
    fields: dict[str, str],
    keys: dict[str, Any],
    words: str,
) -> None:
    deployed.answers |= {"redrive": {"run": run(outcome="queued")}, JOB: run(outcome="succeeded")}
    page = visitor.after(visitor.send(f"/runs/{RUN}/redrive", by="Ada", **fields))
    waits()
    assert words in page
    assert deployed.told("control") == [{"command": "redrive", "run_id": RUN, "by": "Ada", **keys}]
    assert deployed.told(JOB) == [{"run_id": RUN, "once": True}]


def test_a_redrive_that_does_not_begin_says_why(
    visitor: Visitor, deployed: Deployed, waits: Callable[[], None]
) -> None:
    deployed.answers |= {"redrive": {"run": run(outcome="queued")}, JOB: AwsError("AWS does not answer")}
    answer = visitor.send(f"/runs/{RUN}/redrive", by="Ada")
    waits()
    assert "AWS does not answer" in visitor.after(answer)


def test_a_plan_is_made_with_the_parameters_of_the_form(
    visitor: Visitor, deployed: Deployed, waits: Callable[[], None]
) -> None:
    deployed.answers[JOB] = PLANNED
    answer = visitor.send(f"/jobs/{JOB}/plan", **{"param.retention_days": "60", "param.max_rows": ""})
    waits()
    assert deployed.told(JOB) == [{"dry_run": True, "parameters": {"retention_days": 60}, "once": True, "id": NEW_RUN}]
    led = visitor.get(answer.headers["Location"])
    assert led.headers["Location"] == f"/runs/{PLAN}"


def test_a_parameter_outside_its_limits_is_refused_before_anything_is_invoked(
    visitor: Visitor, deployed: Deployed
) -> None:
    page = visitor.after(visitor.send(f"/jobs/{JOB}/plan", **{"param.retention_days": "3"}))
    assert "Nothing was done: Retention_days must be a whole number of days, at least 7" in page
    assert deployed.told(JOB) == []


def test_what_deletes_is_planned_where_a_run_is_asked_for(
    visitor: Visitor, deployed: Deployed, waits: Callable[[], None]
) -> None:
    deployed.answers[JOB] = PLANNED
    visitor.send(f"/jobs/{JOB}/run")
    waits()
    assert deployed.told(JOB) == [{"dry_run": True, "once": True, "id": NEW_RUN}]


def test_what_does_not_delete_is_run(visitor: Visitor, deployed: Deployed, waits: Callable[[], None]) -> None:
    deployed.answers[CHECK] = run(job=CHECK, outcome="succeeded")
    visitor.send(f"/jobs/{CHECK}/run")
    waits()
    assert deployed.told(CHECK) == [{"once": True, "id": NEW_RUN}]


def test_a_plan_is_run_with_its_own_parameters(visitor: Visitor, deployed: Deployed, waits: Callable[[], None]) -> None:
    deployed.answers |= {"run": {"run": PLANNED}, JOB: run(outcome="succeeded")}
    visitor.send(f"/runs/{PLAN}/confirm")
    waits()
    assert deployed.told(JOB) == [{"parameters": {"retention_days": 30}, "once": True, "id": NEW_RUN}]


def test_only_a_plan_can_be_confirmed(visitor: Visitor, deployed: Deployed) -> None:
    page = visitor.after(visitor.send(f"/runs/{RUN}/confirm"))
    assert "is no plan that could be run" in page
    assert deployed.told(JOB) == []


def test_a_run_that_did_not_start_is_told_with_its_reason(
    visitor: Visitor, deployed: Deployed, waits: Callable[[], None]
) -> None:
    deployed.answers[CHECK] = FunctionError("SettingError", "job shop-check is disabled")
    answer = visitor.send(f"/jobs/{CHECK}/run")
    waits()
    page = visitor.after(visitor.get(answer.headers["Location"]))
    assert "shop-check did not run: shop-check refused: job shop-check is disabled" in page


def test_a_page_that_waits_goes_on_to_the_run_as_soon_as_the_ledger_has_it(deployed: Deployed) -> None:
    going = threading.Event()

    class Slow(Deployed):
        def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
            if function.endswith(CHECK):
                assert going.wait(10)
            return super().invoke(function, payload)

    slow = Slow({**deployed.answers, CHECK: run(job=CHECK), "run": {"error": f"no run has the id {NEW_RUN}"}})
    guest = Visitor(slow).come_in()
    guest.get(f"/jobs/{CHECK}")
    where = guest.send(f"/jobs/{CHECK}/run").headers["Location"]
    assert "Waiting for its run" in guest.get(where).text
    its = run(run_id=NEW_RUN, job=CHECK, trigger="manual", outcome="running", finished_at=None)
    slow.answers["run"] = {"run": its}
    live = guest.get(where, **{"X-Live": "1"})
    assert live.headers["Nightshift-Go"] == f"/runs/{NEW_RUN}"
    assert {"query": "run", "run_id": NEW_RUN} in slow.told("console")
    going.set()


def test_a_backfill_shows_its_occurrences_and_is_asked_for(visitor: Visitor, deployed: Deployed) -> None:
    page = visitor.get(f"/jobs/{JOB}/backfill?from=2026-03-01T00:00Z&to=2026-03-03T00:00Z").text
    assert "1 of 2 occurrences run, the oldest first." in page
    assert (page.count("is left as it is</span>"), page.count("runs</span>")) == (1, 1)
    span = {"from": "2026-03-01T00:00Z", "to": "2026-03-03T00:00Z"}
    answer = visitor.send(f"/jobs/{JOB}/backfill", **span, by="Ada", reason="late rows")
    assert deployed.told(JOB) == []
    asked = [payload for payload in deployed.told("control") if payload["command"] == "backfill"]
    assert [(each["job"], each["since"], each["by"]) for each in asked] == [(JOB, "2026-03-01T00:00:00+00:00", "Ada")]
    assert f"1 of 2 occurrences of {JOB} run, the oldest first." in visitor.after(answer)


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ("2026-03-03T00:00Z", "2026-03-01T00:00Z", "The end comes after the start"),
        ("2026-03-01T00:00Z", "2999-03-01T00:00Z", "The end is in the future"),
        ("yesterday", "2026-03-01T04:00Z", "&#39;yesterday&#39; is not a time"),
    ],
)
def test_a_backfill_of_nonsense_is_refused(visitor: Visitor, since: str, until: str, words: str) -> None:
    answer = visitor.get(f"/jobs/{JOB}/backfill?from={since}&to={until}")
    assert answer.status_code == 400
    assert words in answer.text


def test_the_page_asks_which_occurrences_run_again(visitor: Visitor, deployed: Deployed) -> None:
    assert 'name="reprocess"' in visitor.get(f"/jobs/{JOB}").text
    span = {"from": "2026-03-01T00:00Z", "to": "2026-03-03T00:00Z", "reprocess": "failed"}
    page = visitor.get(f"/jobs/{JOB}/backfill?" + "&".join(f"{key}={value}" for key, value in span.items())).text
    assert "One that failed runs again" in page
    assert 'name="reprocess" value="failed"' in page
    visitor.send(f"/jobs/{JOB}/backfill", **span, by="Ada", reason="late rows")
    asked = [payload for _, payload in deployed.asked if "past" in payload.values() or "backfill" in payload.values()]
    assert [payload["reprocess"] for payload in asked] == ["failed", "failed"]


def test_backfills_tell_how_far_they_are(visitor: Visitor, deployed: Deployed) -> None:
    over = backfill(backfill_id=PLAN, state="done", done=30, run_id=None, finished_at="2026-03-11T11:00:00Z")
    deployed.answers["backfills"] = {"backfills": [backfill(), over]}
    page = visitor.get("/backfills").text
    # Two hours for ten runs, and eighteen occurrences left
    assert "12 of 30 occurrences, 2 failed, about 4 h left, 2 left as they were" in page
    assert f'href="/runs/{RUN}"' in page
    assert "Asked for by Ada" in page
    assert "late rows" in page
    assert page.count("Pause the backfill</button>") == page.count("Cancel the backfill</button>") == 1


@pytest.mark.parametrize(
    ("what", "state", "words"),
    [
        ("pause", "paused", "is paused: 12 of 30 occurrences are done. Its open run goes on to its end."),
        ("resume", "open", "goes on, at the oldest occurrence that is left: 12 of 30 occurrences are done."),
        ("cancel", "cancelled", "is cancelled: 12 of 30 occurrences are done, and stay so. Its open run goes on"),
    ],
)
def test_a_backfill_is_paused_resumed_and_cancelled(
    visitor: Visitor, deployed: Deployed, what: str, state: str, words: str
) -> None:
    deployed.answers[f"{what}_backfill"] = {"backfill": backfill(state=state)}
    page = visitor.after(visitor.send(f"/backfills/{BACKFILL}/{what}", by="Ada", reason="a move"))
    [asked] = [payload for payload in deployed.told("control") if payload["command"] == f"{what}_backfill"]
    assert (asked["backfill_id"], asked["by"]) == (BACKFILL, "Ada")
    assert f"The backfill of {JOB} {words}" in page


def test_a_backfill_that_is_over_says_so(visitor: Visitor, deployed: Deployed) -> None:
    deployed.answers["pause_backfill"] = {"error": f"backfill {BACKFILL} has already ended: done"}
    page = visitor.after(visitor.send(f"/backfills/{BACKFILL}/pause", by="Ada", reason="a move"))
    assert f"Nothing was done: Backfill {BACKFILL} has already ended: done" in page
    assert "<h1>Backfills</h1>" in page


@pytest.mark.parametrize(
    ("facts", "words", "left"),
    [
        ({}, "12 of 30 occurrences, 2 failed, about 4 h left", True),
        ({"state": "paused"}, "12 of 30 occurrences, 2 failed", False),
        ({"done": 2, "counts": {"kept": 2}}, "2 of 30 occurrences", False),
        ({"done": 0, "counts": {}}, "0 of 30 occurrences", False),
        ({"state": "done", "done": 30, "counts": {"succeeded": 30}}, "30 of 30 occurrences", False),
    ],
)
def test_the_progress_of_a_backfill_is_told_in_words(facts: dict[str, Any], words: str, left: bool) -> None:
    found = backfill_progress(backfill(**facts), NOW)
    assert (found.words, found.seconds_left is not None) == (words, left)


# What goes wrong.


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (AwsError("no AWS credentials found: sign in"), 502, "No AWS credentials found: sign in"),
        (FunctionError("OperationalError", "gone"), 503, "The database does not answer: check that it is up"),
        (FunctionError("TypeError", "oh"), 502, "The function ended with TypeError: oh"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/day", "/runs", f"/jobs/{JOB}", f"/runs/{RUN}"])
def test_what_goes_wrong_is_told_in_words(error: Exception, code: int, words: str, path: str) -> None:
    answers = dict.fromkeys(("overview", "runs", "run"), error)
    answer = Visitor(Deployed(answers)).come_in().get(path)
    assert answer.status_code == code
    assert words in answer.text
    assert "Traceback" not in answer.text


def test_a_job_that_is_not_deployed_is_told(visitor: Visitor, deployed: Deployed) -> None:
    deployed.answers["overview"] = {"error": "no deployed job is named 'x'"}
    answer = visitor.get("/jobs/x")
    assert (answer.status_code, "No deployed job is named" in answer.text) == (400, True)
    assert "There is no such page." in visitor.get("/nowhere").text


# The line of time.


def test_the_day_shows_what_ran_and_what_is_to_come_and_where_jobs_meet() -> None:
    ran = {**TIMES, "run_id": RUN, "outcome": "failed", "duration_ms": 2000, "changed": 0}
    one = job("one", history=[ran])
    other = job("other", schedule="cron(1 2 * * ? *)", history=[])
    often = job("often", schedule="cron(0/5 * * * ? *)", history=[])
    found = day([one, other, often], NOW)
    lanes = {lane.job["job"]: lane for lane in found.lanes}
    assert [(mark.start.isoformat(), mark.outcome) for mark in lanes["one"].marks] == [
        ("2026-03-11T02:00:01+00:00", "failed"),
        ("2026-03-12T02:00:00+00:00", "next"),
    ]
    assert [mark.told for mark in lanes["other"].marks] == ["no run in the ledger", "to come"]
    assert lanes["often"].often == 288
    assert [(jobs, [met.start for met in times]) for jobs, times in found.together()] == [
        (["one", "other"], [dt.datetime(2026, 3, 11, 2, 1, tzinfo=dt.UTC)])
    ]


def test_jobs_of_the_same_minute_meet_and_jobs_one_after_the_other_do_not() -> None:
    at_two = [job(name, history=[]) for name in ("one", "other")]
    later = job("later", schedule="cron(2 2 * * ? *)", history=[])
    [(jobs, times)] = day([*at_two, later], NOW).together()
    assert jobs == ["one", "other"]
    assert len(times) == 2


def test_a_job_that_is_disabled_or_paused_has_nothing_to_come() -> None:
    disabled = job("disabled", enabled=False, history=[])
    paused = job("paused", paused={"at": TIMES["started_at"], "by": "Ada", "reason": "x"}, history=[])
    [lane] = day([disabled, paused], NOW).lanes
    assert [mark.outcome for mark in lane.marks if mark.start > NOW] == ["paused"]
