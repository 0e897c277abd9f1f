"""After a mass deletion the statistics are made anew where the role may, and advice is told with its numbers."""

import time
from typing import Any

import pytest
from sqlalchemy import Engine, text

from nightshift import Drop
from nightshift.database.transaction import LOCK_TIMEOUT_SECONDS
from nightshift.engine import aftercare
from tests.integration.tables.conftest import Call, deletion
from tests.integration.tables.test_what_is_refused import as_role

EVERYTHING = {"max_share": 100}


def filled_with(old: int, young: int, more: str = "") -> str:
    return f"""
        create table visits (id int, at timestamptz not null) with (autovacuum_enabled = off);
        insert into visits select i, timestamptz '2025-12-01Z' from generate_series(1, {old}) i;
        insert into visits select i, timestamptz '2026-02-28Z' from generate_series(1, {young}) i;
        create index on visits (at); analyze visits; {more}
    """


def known_rows(engine: Engine) -> int:
    """How many rows the planner believes in."""
    with engine.connect() as connection:
        return int(connection.scalar(text("select reltuples from pg_class where relname = 'visits'")) or 0)


def test_after_most_rows_went_the_table_is_analyzed_and_the_run_says_what_is_left(made: Any, call: Call) -> None:
    engine = made(filled_with(12_000, 3_000))

    result = call(engine, deletion("visits"), parameters=EVERYTHING)

    (note,) = result["notes"]
    assert known_rows(engine) == 3_000
    assert note.startswith("visits: 12,000 of about 15,000 rows (80 %) went; its statistics were made anew; about 12,")
    assert "autovacuum is off for this table, so nobody makes their room usable: vacuum public.visits" in note
    assert "better partitioned" in note
    with engine.connect() as connection:
        assert connection.scalar(text("select notes from nightshift.runs")) == [note]


@pytest.mark.parametrize(("old", "young"), [(9_999, 0), (10_000, 10_001)])
def test_after_few_rows_or_less_than_half_nothing_is_done_or_said(made: Any, call: Call, old: int, young: int) -> None:
    engine = made(filled_with(old, young))

    result = call(engine, deletion("visits"), parameters=EVERYTHING)

    assert result["counters"]["deleted"] == old
    assert known_rows(engine) == old + young
    assert "notes" not in result


def test_many_rows_are_a_mass_whatever_is_left(made: Any, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aftercare, "MANY_ROWS", 10_000)
    engine = made(filled_with(10_000, 90_000))

    call(engine, deletion("visits"), parameters=EVERYTHING)

    assert known_rows(engine) == 90_000


def test_a_role_that_may_not_analyze_is_told_the_statement(made: Any, call: Call) -> None:
    engine = made(filled_with(12_000, 3_000))
    worker = as_role(engine, "grant select, delete on visits to $role")

    result = call(worker, deletion("visits"), parameters=EVERYTHING)

    assert result["outcome"] == "succeeded"
    assert "its statistics were not made anew (this role may not): analyze public.visits;" in result["notes"][0]
    assert known_rows(engine) == 15_000


def test_a_table_that_is_locked_is_not_waited_for(made: Any, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = made(filled_with(12_000, 3_000))
    holder = engine.connect()
    look_at = aftercare._look_at

    def locked(session: Any, name: str) -> Any:
        holder.exec_driver_sql("lock table visits in share update exclusive mode")
        return look_at(session, name)

    monkeypatch.setattr(aftercare, "_look_at", locked)
    started = time.monotonic()
    result = call(engine, deletion("visits"), parameters=EVERYTHING)
    took = time.monotonic() - started
    holder.close()

    assert result["outcome"] == "succeeded"
    assert "(SQLSTATE 55P03)): analyze public.visits" in result["notes"][0]
    assert took < LOCK_TIMEOUT_SECONDS, "nobody waits as long as for a row"


def test_near_the_deadline_nothing_is_begun(made: Any, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aftercare, "LEAST_SECONDS", 60)
    engine = made(filled_with(12_000, 3_000))

    result = call(engine, deletion("visits"), parameters=EVERYTHING)

    assert "(there was no time left): analyze public.visits" in result["notes"][0]


def test_what_went_by_cascade_is_looked_after_as_well(made: Any, call: Call) -> None:
    children = (
        "alter table visits add primary key (id);"
        "create table clicks (visit_id int references visits on delete cascade); create index on clicks (visit_id);"
        "insert into clicks select i from generate_series(1, 12000) i; analyze clicks"
    )
    engine = made(filled_with(12_000, 0, children))

    notes = call(engine, deletion("visits"), parameters=EVERYTHING)["notes"]

    assert [note.partition(":")[0] for note in notes] == ["visits", "clicks"]
    assert "better partitioned" not in notes[1]


def test_partitions_that_went_leave_no_dead_rows_and_the_table_is_analyzed(made: Any, call: Call) -> None:
    engine = made(
        "create table visits (id int, at timestamptz not null) partition by range (at);"
        "create table visits_old partition of visits for values from (minvalue) to ('2026-01-01Z');"
        "create table visits_new partition of visits for values from ('2026-02-01Z') to (maxvalue);"
        "insert into visits select i, timestamptz '2025-12-01Z' from generate_series(1, 12000) i;"
        "insert into visits select i, timestamptz '2026-02-28Z' from generate_series(1, 500) i; analyze visits"
    )

    result = call(engine, deletion("visits", partitions=Drop()), parameters=EVERYTHING)

    told = "visits: 12,000 of about 12,500 rows (96 %) went; its statistics were made anew"
    assert result["notes"] == [told]
    assert known_rows(engine) == 500
