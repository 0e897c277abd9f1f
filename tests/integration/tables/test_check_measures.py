"""A number or a uuid that cannot be a time, by its statistics: a check calls it an error, and a plan says so."""

import pytest

from cli.planning import plan_in
from cli.times import now
from nightshift.catalogue import Snowflake
from tests.integration.tables.conftest import deletion
from tests.integration.tables.test_check import PARENTS, Look, look as look, url_of

AT = "extract(epoch from at)"
CASES = {
    # what the column holds, its type, what the step says, severity and words of the finding
    "seconds": (AT, "bigint", "seconds", None, ""),
    "seconds said to be milliseconds": (AT, "bigint", "milliseconds", "error", "1970-01-21"),
    "seconds said to be microseconds": (AT, "numeric", "microseconds", "error", 'say measured_in="seconds"'),
    "milliseconds": (f"{AT} * 1000", "bigint", "milliseconds", None, ""),
    "milliseconds said to be seconds": (f"{AT} * 1000", "bigint", "seconds", "error", "would be of the year 57,"),
    "milliseconds said to be seconds, as floats": (f"{AT} * 1000", "float8", "seconds", "error", "the year 57,"),
    "microseconds said to be seconds": (f"{AT} * 1000000", "numeric", "seconds", "error", "of 2025-12-01: say"),
    "numbers that count": ("n", "int", "seconds", "error", "1970-01-01; name a column that holds a time"),
    "years": ("2020 + n % 5", "int", "seconds", "error", "cannot be a time in seconds"),
    "days": ("20000 + n", "int", "seconds", "error", "cannot be a time in seconds"),
    "nothing but 0": ("0", "int", "seconds", "warning", "is 0 or less in all rows"),
    "nanoseconds": (f"{AT} * 1000000000", "bigint", "nanoseconds", None, ""),
    "0 for some": (f"case when n % 3 > 0 then 0 else {AT} end", "bigint", "seconds", "warning", "is 0 or less in 67 %"),
    "ids of an epoch": (
        f"cast(({AT} - 1288834974) * 1000 as bigint) << 22",
        "bigint",
        Snowflake(1288834974657),
        None,
        "",
    ),
    "ids of an epoch in seconds": (
        f"cast(({AT} - 1288834974) * 1000 as bigint) << 22",
        "bigint",
        Snowflake(1288834974),
        "error",
        "1985-",
    ),
    "numbers that count, said to be ids of an epoch": ("n", "bigint", Snowflake(1288834974657), "error", "2010-11-04"),
    "uuids of version 4": ("gen_random_uuid()", "uuid", "uuid7", "error", "has no uuid of version 7"),
    "uuids of version 7": (
        f"cast(overlay(to_hex(cast({AT} * 1000 as bigint)) || '7000800000000000' placing '0' from 1 for 0)"
        " || lpad('', 4, '0') as uuid)",
        "uuid",
        "uuid7",
        None,
        "",
    ),
    "nothing": ("null", "bigint", "seconds", None, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_a_time_is_an_error(look: Look, case: str) -> None:
    holds, kind, measure, severity, words = CASES[case]
    script = f"{PARENTS} alter table parents add stamp {kind}; update parents set stamp = {holds}; analyze parents;"
    job = deletion(measured_by="stamp", measured_in=measure)

    found = [each for each in look(script, job) if "no index" not in each["what"]]
    (step,) = plan_in(url_of(look.database), job, now(), {})["plan"]["steps"]

    assert [each["severity"] for each in found] == ([severity] if severity else []), found
    assert step.get("notes", []) == [each["what"] for each in found]
    assert all(words in each["what"] for each in found), found


def test_a_condition_may_leave_out_what_stands_for_never(look: Look) -> None:
    script = f"{PARENTS} alter table parents add stamp int not null default 0; analyze parents;"
    job = deletion(measured_by="stamp", measured_in="seconds", where="stamp > 0")
    assert [each for each in look(script, job) if "no index" not in each["what"]] == []
    assert "notes" not in plan_in(url_of(look.database), job, now(), {})["plan"]["steps"][0]


@pytest.mark.parametrize("split", ["", "partitioned"])
def test_it_is_told_of_a_partitioned_table_and_needs_statistics(look: Look, split: str) -> None:
    script = "create table logs (id int primary key, at int) partition by range (id);"
    script += "create table l1 partition of logs for values from (0) to (1000);"
    script += "insert into logs select i, i from generate_series(1, 300) i;" + ("analyze l1;" if split else "")
    job = deletion("logs", measured_in="seconds")

    found = [each for each in look(script, job) if "cannot be a time" in each["what"]]
    assert len(found) == (1 if split else 0)
