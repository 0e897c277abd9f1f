"""How a plan is shown: a tree of tables on a terminal, one line for each table in a pipe, the same facts as JSON."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.commands import application

JOB = "abandoned-carts"
INDEX = 'create index concurrently on "shop"."items" ("order_id")'
ORDERS = {
    "step": "delete-orders",
    "table": "shop.orders",
    "action": "delete",
    "rows": 1_200_000,
    "of": 2_000_000,
    "cutoff": "2026-02-09T02:00:00Z",
    "sample": ["1", "[bold]2[/bold]"],
    "bytes": 123_456_789,
    "way": "range",
    "referenced": 17,
    "missing": [INDEX],
    "cascades": [
        {
            "table": "shop.notes",
            "action": "delete",
            "rows": 1,
            "youngest": "2025-03-10",
            "through": "shop.items",
        },
        {
            "table": "shop.items",
            "action": "delete",
            "rows": 3_400_000,
            "of": 3_500_000,
            "youngest": "2026-03-10 12:00:00+00",
            "through": "shop.orders",
        },
        {"table": "people", "action": "update", "rows": 12, "youngest": "infinity", "through": "shop.orders"},
        {"table": "shop.orders", "action": "delete", "rows": 2, "through": "shop.orders"},
    ],
}
TOLD = {"step": "tell", "table": "nightshift.notifications", "action": "notify order_gone", "rows": 0, "sample": []}
OVER = "step delete-orders would delete 1200000 of 2000000 rows of shop.orders; max_share is 50 %"


def answer(*steps: Mapping[str, Any], over_cap: list[str]) -> dict[str, Any]:
    return {
        "job": JOB,
        "run_id": "0123abcd-0000-4000-8000-000000000001",
        "scheduled_for": "2026-03-11T02:00:00Z",
        "outcome": "planned",
        "duration_ms": 1234,
        "counters": {},
        "errors": [],
        "plan": {"steps": list(steps), "over_cap": over_cap},
    }


class Deployed:
    """A deployment with one answer."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        return self.found


def shown(found: dict[str, Any], *arguments: str, columns: str | None = None, **environment: str) -> str:
    environ: dict[str, Any] = {"COLUMNS": columns, "NIGHTSHIFT_DATABASE_URL": None, **environment}
    done = CliRunner().invoke(application, ["plan", JOB, *arguments], obj=Deployed(found), env=environ)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("columns", ["200", "80", "40"])
def test_a_terminal_shows_a_tree_of_tables(columns: str) -> None:
    lines = shown(answer(ORDERS, TOLD, over_cap=[]), columns=columns).splitlines()

    assert lines[2:-1] == [
        "delete-orders",
        "└── shop.orders: delete 1,200,000 of 2,000,000 rows (60 %), about 123.5 MB",
        "    ├── older than: 2026-02-09 02:00 (30 d ago)",
        "    ├── way: range",
        "    ├── kept: 17 rows that other rows refer to",
        "    ├── sample: 1, [bold]2[/bold]",
        f"    ├── missing: {INDEX}",
        "    ├── with all that goes or changes along: 4,600,015 rows",
        "    ├── shop.items: delete 3,400,000 of 3,500,000 rows (97.1 %) by cascade, youngest 2026-03-10 12:00 "
        "(14 h ago), younger than the cut-off",
        "    │   └── shop.notes: delete 1 row by cascade, youngest 2025-03-10 00:00 (366 d ago)",
        "    ├── people: update 12 rows that lose a reference, youngest infinity",
        "    └── shop.orders: delete 2 rows by cascade",
        "tell",
        "└── nightshift.notifications: notify order_gone 0 rows",
    ]


def test_a_pipe_shows_one_line_for_each_table_with_its_whole_name() -> None:
    long = "a_schema_with_a_long_name.and_a_table_whose_name_is_as_long_as_a_name_may_be_in_postgresql"
    sample = ["one\ntwo", "\x1b[31mred"]
    lines = shown(answer(ORDERS, {**TOLD, "table": long, "sample": sample}, over_cap=[])).splitlines()
    rows = [line.split() for line in lines if line.startswith((" delete-orders", " tell"))]

    assert [" ".join(row) for row in rows] == [
        "delete-orders delete 1,200,000 of 2,000,000 60 % shop.orders 2026-02-09T02:00:00Z 123.5 MB range "
        "17 referenced 1, [bold]2[/bold]",
        "delete-orders delete 1 shop.notes shop.items 2026-02-09T02:00:00Z 2025-03-10",
        "delete-orders delete 3,400,000 of 3,500,000 97.1 % shop.items shop.orders 2026-02-09T02:00:00Z "
        "2026-03-10 12:00:00+00",
        "delete-orders update 12 people shop.orders 2026-02-09T02:00:00Z infinity",
        "delete-orders delete 2 shop.orders shop.orders 2026-02-09T02:00:00Z",
        f"tell notify order_gone 0 {long} one\\ntwo, \\x1b[31mred",
    ]
    assert f"Missing for step delete-orders: {INDEX}" in lines


@pytest.mark.parametrize("columns", [None, "100"])
def test_what_is_over_its_cap_is_red_with_what_to_do_next(columns: str | None) -> None:
    found = answer(ORDERS, over_cap=[OVER])
    plain = shown(found, columns=columns)
    colours = shown(found, columns=columns, FORCE_COLOR="1")

    assert f"Over its cap. A run would stop before it changes anything: {OVER}\n" in plain
    assert "nightshift redrive RUN --override-cap --by NAME --reason TEXT\n" in plain
    assert "--override-cap" not in shown(answer(ORDERS, over_cap=[]), columns=columns)
    assert f"\x1b[1;31mOver its cap. A run would stop before it changes anything: {OVER}" in colours


def test_a_program_reads_the_same_facts() -> None:
    found = answer(ORDERS, TOLD, over_cap=[OVER])
    assert json.loads(shown(found, "--json"))["plan"] == found["plan"]


@pytest.mark.parametrize(
    ("rows", "of", "share"),
    [(1, 1_000_000, "less than 0.01 %"), (0, 20_000, "0 %"), (20_000, 20_000, "100 %"), (1, 3, "33.3 %")],
)
def test_a_share_is_a_percentage(rows: int, of: int, share: str) -> None:
    found = answer({**TOLD, "action": "delete", "rows": rows, "of": of}, over_cap=[])
    assert f"delete {rows:,} of {of:,} rows ({share})" in shown(found, columns="100")


def test_cascades_in_a_circle_and_of_unknown_descent_are_shown_once() -> None:
    circle = [
        {"table": name, "action": "delete", "rows": 1, "through": through}
        for name, through in (("a", "b"), ("b", "a"), ("b", "c"), ("shop.orders", "b"))
    ]
    lines = shown(answer({**ORDERS, "cascades": circle}, over_cap=[]), columns="100").splitlines()
    assert sorted(line.strip("│├└─ ") for line in lines if "by cascade" in line) == [
        "a: delete 1 row by cascade",
        "b: delete 1 row by cascade",
        "b: delete 1 row by cascade",
        "shop.orders: delete 1 row by cascade",
    ]
