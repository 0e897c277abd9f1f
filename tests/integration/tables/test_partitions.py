"""Partitions that are entirely older than the cut-off go as a whole: which, how they are counted, and what stops one."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from nightshift import Delete, DeclarationError, Detach, Drop, Job, days
from nightshift.catalogue import Snowflake
from nightshift.engine import partitions as engine_partitions
from nightshift.errors import RunFailedError
from tests.faults.deaths import Death, Life, let_the_lease_end
from tests.integration.tables.conftest import Call, deletion, rows

BY_MONTH = """
create table events (id bigint not null, note text, at timestamptz not null) partition by range (at);
create table events_2025_11 partition of events for values from ('2025-11-01Z') to ('2025-12-01Z');
create table events_2025_12 partition of events for values from ('2025-12-01Z') to ('2026-01-01Z');
create table events_2026_01 partition of events for values from ('2026-01-01Z') to ('2026-02-01Z');
create table events_2026_02 partition of events for values from ('2026-02-01Z') to ('2026-03-01Z');
create table events_2026_03 partition of events for values from ('2026-03-01Z') to ('2026-04-01Z');
create index on events (at);
insert into events select i, 'event', timestamptz '2025-11-01Z' + i * interval '1 h' from generate_series(0, 2879) i;
analyze events;
"""
"""The cut-off is 2026-01-30 02:00. November and December have 1,464 rows; of January 698 rows are older."""

EVERYTHING = {"max_share": 100}


def dropping(table: str = "events", partitions: Any = None, **more: Any) -> Job:
    return deletion(table, partitions=partitions or Drop(), **more)


def tables(engine: Engine, schema: str = "public") -> set[str]:
    with engine.connect() as connection:
        found = connection.scalars(
            text("select relname from pg_class where relkind in ('r', 'p') and relnamespace = to_regnamespace(:schema)"),
            {"schema": schema},
        )
        return set(found)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_partitions, "PAUSES", (0.01, 0.01))


def test_old_partitions_go_as_a_whole_and_the_rows_of_the_one_that_is_partly_old_go_one_by_one(
    made: Any, call: Call
) -> None:
    engine = made(BY_MONTH)
    plan = call(engine, dropping(), dry_run=True)["plan"]["steps"][0]

    result = call(engine, dropping(), parameters=EVERYTHING)

    assert plan["rows"] == 720 + 744 + 698
    assert [(each["name"], each["rows"]) for each in plan["partitions"]] == [
        ("public.events_2025_11", 720),
        ("public.events_2025_12", 744),
    ]
    assert all(each["bytes"] > 0 for each in plan["partitions"])
    assert {"events_2025_11", "events_2025_12"}.isdisjoint(tables(engine))
    assert "events_2026_01" in tables(engine)
    assert result["counters"]["deleted"] == plan["rows"]
    assert result["counters"]["partitions_dropped"] == 2
    assert result["counters"]["partition_bytes"] == sum(each["bytes"] for each in plan["partitions"])
    assert rows(engine, "events") == rows(engine, "events where at >= '2026-01-30 02:00Z'") == 2880 - 2162


def test_a_second_night_finds_nothing(made: Any, call: Call) -> None:
    engine = made(BY_MONTH)
    call(engine, dropping(), parameters=EVERYTHING)

    result = call(engine, dropping(), parameters=EVERYTHING)

    assert result["counters"]["deleted"] == result["counters"]["partitions_dropped"] == 0
