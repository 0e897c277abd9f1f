"""`nightshift check` and `nightshift suggest` through a deployment of the test's own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.aws import AwsError, FunctionError
from cli.commands import application
from cli.deployment import strain_of
from nightshift.declaration import function_name, registry
from nightshift.declaration.limits import Limits, limits_from

CART, LEDGER = (
    "abandoned-carts",
    {"severity": "error", "object": "nightshift", "step": None, "what": "lacks", "sql": "g"},
)
NOTE = {"severity": "note", "object": "carts", "step": "delete-carts", "what": "[b]is read whole[/b]", "sql": None}
WARNING = {"severity": "warning", "object": "items", "step": "delete-carts", "what": "no index", "sql": "create index"}

PROPOSAL = {
    "table": "shop.sessions",
    "schema": "shop",
    "name": "sessions",
    "kind": "secret",
    "column": "expires",
    "holds": "expiry",
    "older_than_days": 7,
    "measured_in": "seconds",
    "because": "what has expired lets nobody in",
    "rows": 12_000,
    "of": 16_000,
    "share": 0.75,
    "bytes": 3_000_000,
    "table_bytes": 4_000_000,
    "partitions": None,
    "over_cap": True,
    "unknown": None,
    "remedy": None,
    "cascades": [{"table": "shop.carts", "action": "delete", "rows": 40}],
    "missing": {"sql": "create index concurrently on x (y)", "bytes": 400_000, "seconds": 0.2},
}
UNKNOWN = PROPOSAL | {
    "table": "logs",
    "rows": None,
    "share": None,
    "bytes": None,
    "over_cap": False,
    "unknown": "nobody knows",
    "remedy": "analyze logs",
    "missing": None,
    "cascades": [],
}
SUGGESTED = {
    "looked_at": 9,
    "covered": ["carts"],
    "proposals": [PROPOSAL, UNKNOWN],
    "aside": [{"table": "audit_logs", "reason": "legal", "why": "ask your lawyer"}],
}


@dataclass
class Deployed:
    """A deployment whose jobs have these findings, or end with these errors. Those that are not named have none."""

    findings: Mapping[str, Any] = field(default_factory=dict)
    disabled: str = ""
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        self.asked[function] = dict(payload)
        if function == function_name("console"):
            if payload["query"] == "suggest":
                return SUGGESTED
            names = [payload["job"]] if "job" in payload else list(registry())
            return {"jobs": [{"job": name, "enabled": name != self.disabled} for name in names]}
        name = function.removeprefix("nightshift-")
        found = self.findings.get(name, self.findings.get("*", []))
        if isinstance(found, Exception):
            raise found
        return {"job": name, "enabled": True, "findings": found}


@pytest.fixture(autouse=True)
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "NIGHTSHIFT_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def nightshift(*arguments: str, on: Deployed) -> Result:
    return CliRunner().invoke(application, arguments, obj=on)


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]


def test_each_jobs_own_function_is_asked() -> None:
    deployed = Deployed()

    done = nightshift("check", on=deployed)

    assert done.exit_code == 0
    assert lines(done) == [f"{len(registry())} jobs checked: nothing to tell."]
    assert deployed.asked.pop(function_name("console")) == {"query": "jobs"}
    assert deployed.asked == {function_name(name): {"check": True} for name in registry()}


def test_one_job_is_asked_alone() -> None:
    deployed = Deployed({CART: [NOTE]})

    done = nightshift("check", "--job", CART, "--json", on=deployed)

    assert json.loads(done.stdout) == {
        "jobs": [CART],
        "totals": {"error": 0, "warning": 0, "note": 1},
        "findings": [{"severity": "note", "job": CART, **NOTE}],
    }
    assert set(deployed.asked) == {function_name("console"), function_name(CART)}
    assert "did you mean" in nightshift("check", "--job", "abandoned-cart", on=deployed).stderr


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_the_sql_of_a_finding_can_be_copied_on_a_terminal_of_any_width(columns: str) -> None:
    sql = "create index concurrently if not exists carts_updated_at_id_idx on public.carts (updated_at, id) -- 12 s"
    on = Deployed({CART: [{**WARNING, "sql": sql}]})
    done = CliRunner().invoke(application, ["check"], obj=on, env={"COLUMNS": columns})
    assert sql in done.stdout


@pytest.mark.parametrize(
    ("findings", "options", "code"),
    [([NOTE], ["--strict"], 0), ([WARNING], [], 0), ([WARNING], ["--strict"], 1), ([NOTE, LEDGER], [], 1)],
)
def test_only_errors_end_with_exit_code_1(findings: list[Any], options: list[str], code: int) -> None:
    assert nightshift("check", *options, on=Deployed({CART: findings})).exit_code == code


def test_a_finding_is_one_line_and_its_sql_follows_the_worst_first_and_a_shared_one_is_told_once() -> None:
    shared = {name: [LEDGER] for name in registry()}

    done = nightshift("check", on=Deployed({**shared, CART: [LEDGER, NOTE, WARNING]}))

    told = lines(done)
    assert told[2:5] == [
        "error every job nightshift lacks",
        f"warning {CART} items no index",
        f"note {CART} carts [b]is read whole[/b]",
    ]
    assert told[5:] == [
        "What mends it, for the owner of the tables:",
        "-- every job: nightshift",
        "g;",
        f"-- {CART}: items",
        "create index;",
        f"{len(registry())} jobs checked: 1 error, 1 warning, 1 note.",
    ]


def test_the_sql_for_many_partitions_fills_no_screen() -> None:
    sql = "; ".join(f"create index i{number} on p{number} (at)" for number in range(20))

    told = lines(nightshift("check", on=Deployed({CART: [{**WARNING, "sql": sql}]})))

    assert told[-3:-1] == ["create index i0 on p0 (at);", "-- … and 19 more for its partitions: see --json"]


def test_a_job_that_cannot_say_it_is_a_finding_and_hides_no_other() -> None:
    broken = FunctionError("ImportError", "no module x")
    others = [name for name in registry() if name != CART]
    deployed = Deployed({CART: broken, others[0]: [WARNING]}, disabled=others[1])

    told = json.loads(nightshift("check", "--json", on=deployed).stdout)

    assert [(each["severity"], each["job"], each["what"]) for each in told["findings"]] == [
        ("error", CART, "its function could not check it: no module x"),
        ("warning", others[0], "no index"),
        ("note", others[1], "it is disabled by the deployment's settings, and was not checked"),
    ]


def test_what_nobody_can_answer_is_refused() -> None:
    forbidden = nightshift("check", on=Deployed({"*": AwsError("you may not invoke it")}))
    assert (forbidden.exit_code, forbidden.stderr.strip()) == (2, "you may not invoke it")
    down = nightshift("check", on=Deployed({"*": FunctionError("OperationalError", "no")}))
    assert down.exit_code == 2
    assert "the database does not answer" in down.stderr


def test_proposals_are_shown_with_what_they_lack() -> None:
    told = nightshift("suggest", on=Deployed())

    assert told.exit_code == 0
    text = "\n".join(lines(told))
    for words in (
        "shop.sessions expires (seconds) older than 7 days about 12,000 75% 3.0 MB shop.carts about 40",
        "shop.sessions, logs: what has expired lets nobody in",
        "The first run on shop.sessions stops at max_share before it deletes anything",
        "-- shop.sessions: each run reads it whole; the index has about 400.0 kB and takes about 1 s\n"
        "create index concurrently on x (y);",
        "logs: nobody knows: analyze logs",
        "audit_logs ask your lawyer",
        "9 tables looked at, 2 jobs proposed; a job deletes from 1 of them already",
    ):
        assert words in text
    assert json.loads(nightshift("suggest", "--json", on=Deployed()).stdout) == SUGGESTED


def test_a_folder_that_is_no_pack_is_refused_before_anybody_is_asked() -> None:
    deployed = Deployed()

    refused = nightshift("suggest", "--write", "somewhere/else", on=deployed)

    assert (refused.exit_code, deployed.asked) == (2, {})
    assert "write it like functions/housekeeping" in refused.stderr


def test_a_check_by_url_asks_the_gate_that_the_settings_have_for_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "strain": {"gate": "select true", "lock_waits": 2},
        "jobs": {CART: {"strain": {"gate": "select false"}}},
    }
    monkeypatch.setattr("cli.deployment.CDK_JSON", tmp_path / "cdk.json")
    assert strain_of(CART) == {}

    (tmp_path / "cdk.json").write_text(json.dumps({"context": {"nightshift": settings}}))

    assert limits_from(strain_of(CART)) == Limits(gate="select false", lock_waits=2)
    assert limits_from(strain_of("another")) == Limits(gate="select true", lock_waits=2)
