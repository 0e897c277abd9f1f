"""Whether a partition can ever go as a whole, by what a table is partitioned by: a check says what a plan does."""

import pytest
from sqlalchemy import text

from cli.planning import plan_in
from cli.times import now
from nightshift import Drop
from tests.integration.tables.conftest import deletion
from tests.integration.tables.test_check import RIGHTS, Look, look as look, mend, url_of

OWNED = RIGHTS + "alter table logs owner to $role;"
FILL = """
    insert into logs select i, timestamptz '2024-03-01Z' + i * interval '1 min', timestamptz '2024-03-01Z', 'eu'
      from generate_series(1, 100) i;
    create index on logs (at); analyze logs;
"""
OLD = "values from ('2024-01-01') to ('2025-01-01')"
LAYOUTS = {
    # what it is partitioned by, its partitions, and whether one can go
    "the age": ("range (at)", f"create table l1 partition of logs for {OLD};", True),
    "the age, then another": (
        "range (at, id)",
        "create table l1 partition of logs for values from ('2024-01-01', 0) to ('2025-01-01', 0);",
        True,
    ),
    "another, and below it the age": (
        "list (region)",
        "create table l1 partition of logs for values in ('eu') partition by range (at);"
        f"create table l2 partition of l1 for {OLD};",
        True,
    ),
    "a number": ("range (id)", "create table l1 partition of logs for values from (0) to (1000);", False),
    "another, then the age": (
        "range (id, at)",
        "create table l1 partition of logs for values from (0, '2024-01-01') to (1000, '2025-01-01');",
        False,
    ),
    "a text": ("list (region)", "create table l1 partition of logs for values in ('eu');", False),
    "another time": ("range (made)", f"create table l1 partition of logs for {OLD};", False),
    "a hash of the age": (
        "hash (at)",
        "create table l1 partition of logs for values with (modulus 1, remainder 0);",
        False,
    ),
    "an expression": (
        "range ((date_trunc('month', at at time zone 'UTC')))",
        f"create table l1 partition of logs for {OLD};",
        False,
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_key_that_does_not_tell_the_age_is_told(look: Look, case: str) -> None:
    key, parts, goes = LAYOUTS[case]
    script = f"create table logs (id int, at timestamptz not null, made timestamptz, region text) partition by {key};"
    job = deletion("logs", partitions=Drop())
    owned = OWNED + "".join(f"alter table {part} owner to $role;" for part in ("l1", "l2") if f"table {part} " in parts)

    found = look(script + parts + FILL, job, owned)
    (step,) = plan_in(url_of(look.database), job, now(), {})["plan"]["steps"]

    assert bool(step.get("partitions")) == goes
    told = [(each["severity"], "no partition can ever go as a whole" in each["what"]) for each in found]
    assert told == ([] if goes else [("warning", True)]), found


def test_a_partition_that_is_half_detached_is_told_with_what_ends_it(look: Look) -> None:
    script = (
        "create table logs (id int, at timestamptz not null, made timestamptz, region text) partition by range (at);"
    )
    parts = f"create table l1 partition of logs for {OLD}; {FILL}"
    half = "update pg_inherits set inhdetachpending = true where inhrelid = 'l1'::regclass;"
    job = deletion("logs", partitions=Drop())

    (found,) = look(script + parts, job, OWNED + "alter table l1 owner to $role;" + half)

    assert (found["severity"], found["object"]) == ("warning", "logs")
    assert "the partition public.l1 is half detached" in found["what"]
    mend(look.database, found["sql"])
    assert look.again(job) == []
    with look.database.connect() as connection:
        assert connection.scalar(text("select count(*) from l1")) == 100
