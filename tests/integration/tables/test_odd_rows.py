"""A condition or a figure that fails over one row costs that row alone: it is left and told, the others are done."""

from typing import Any

import pytest
from sqlalchemy import Engine, Integer, cast, column, text

from nightshift import Count, Delete, Job, Update, days
from nightshift.errors import RunFailedError
from nightshift.steps import Recompute
from tests.integration.tables.conftest import Call

ROWS = """
    create table parents (id int primary key, at timestamptz not null, note text not null);
    create index on parents (at);
    create table children (id serial primary key, parent_id int references parents on delete cascade);
    insert into parents select i, '2025-01-01', i::text from generate_series(1, 600) i;
    insert into parents select i, '2026-02-28', i::text from generate_series(601, 700) i;
    insert into children (parent_id) select i from generate_series(1, 600) i;
    analyze parents;
"""
SPOILED = "update parents set note = 'no number' where id in (17, 18, 400)"
OF_PARTITIONS = """
    create table parents (id int, at timestamptz not null, note text not null) partition by range (at);
    create table old partition of parents for values from ('2020-01-01') to ('2026-01-01');
    create table new partition of parents for values from ('2026-01-01') to ('2027-01-01');
    insert into parents select i, '2025-01-01', i::text from generate_series(1, 600) i;
    insert into parents select i, '2026-02-28', i::text from generate_series(601, 700) i;
"""
WHERE = "note::int > 0"


def job(*steps: Any, **more: Any) -> Job:
    return Job(name="sweeping", kind="retention", schedule="cron(0 2 * * ? *)", steps=steps, audited=False, **more)


def old(**more: Any) -> Delete:
    given: dict[str, Any] = {"where": WHERE, "older_than": days(30), "measured_by": "at"} | more
    return Delete("parents", **given)


def left(engine: Engine, sql: str = "select id from parents where id <= 600 order by 1") -> list[Any]:
    with engine.connect() as connection:
        return list(connection.scalars(text(sql)))


def quarantined(engine: Engine) -> list[str]:
    return left(engine, "select item || ' ' || error from nightshift.quarantine order by id")


@pytest.mark.parametrize("where", [WHERE, lambda run: text(WHERE), lambda run: cast(column("note"), Integer) > 0])
@pytest.mark.parametrize(
    "script", [ROWS, ROWS + "drop index parents_at_idx;", OF_PARTITIONS], ids=["index", "heap", "parts"]
)
def test_rows_over_which_the_condition_fails_stay_and_the_others_go(
    made: Any, call: Call, script: str, where: Any
) -> None:
    engine = made(script + SPOILED)
    sweeping = job(old(where=where))
    (told,) = call(engine, sweeping, dry_run=True)["plan"]["steps"]
    assert told["rows"] == 597
    done = call(engine, sweeping)
    assert (done["outcome"], done["counters"]["deleted"], done["counters"]["quarantined"]) == ("succeeded", 597, 3)
    assert left(engine) == [17, 18, 400]
    assert len(quarantined(engine)) == 3
    assert all("22P02" in told for told in quarantined(engine))
    assert not any("no number" in told for told in quarantined(engine))


VALUES_READ_LIKE_WORDS = """
    create table parents (id int primary key, at timestamptz not null, note text not null, score numeric);
    insert into parents select i, '2025-01-01', 'parents', i from generate_series(1, 60) i;
"""


@pytest.mark.parametrize(
    ("odd", "where"),
    [
        ("score = 'NaN'", "score::int > 0"),
        ("score = 'Infinity'", "score::bigint > 0"),
        ("note = '(((('", "note::tsquery is not null"),
        ("note = 'nothing'", "note::regclass is not null"),
        ("note = 'nothing'", "note in ('parents') or note::regtype is null"),
        ("note = '..'", "note::regclass is not null"),
        ("note = '$['", "note = 'parents' or note::jsonpath is null"),
    ],
)
def test_a_value_that_is_read_like_a_number_a_query_or_a_name_costs_its_own_row(
    made: Any, call: Call, odd: str, where: str
) -> None:
    engine = made(VALUES_READ_LIKE_WORDS + f"update parents set {odd} where id = 17")
    assert call(engine, job(old(where=where)))["counters"]["deleted"] == 59
    assert left(engine) == [17]


@pytest.mark.parametrize("where", ["'nothing'::regclass is null", "'(('::tsquery is null", "nothing(note)", "note ="])
def test_a_mistake_in_the_condition_itself_is_the_jobs(made: Any, call: Call, where: str) -> None:
    engine = made(VALUES_READ_LIKE_WORDS)
    with pytest.raises(RunFailedError, match="SQLSTATE 42"):
        call(engine, job(old(where=where)))
    assert quarantined(engine) == []


def test_a_row_that_its_own_trigger_changes_is_left_alone(made: Any, call: Call) -> None:
    engine = made(
        VALUES_READ_LIKE_WORDS
        + """
        create function touch() returns trigger language plpgsql as $$ begin
            if old.id = 17 then update parents set note = 'x' where id = 17; end if; return old; end $$;
        create trigger touch before delete on parents for each row execute function touch();
        """
    )
    assert call(engine, job(old(where="true")))["counters"]["deleted"] == 59
    assert [told.split(" ")[0] for told in quarantined(engine)] == ["public.parents:17"]


def test_a_row_that_turns_odd_after_the_count_is_left_and_told(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = made(ROWS)
    from nightshift import ledger

    state = ledger.state_candidates

    def and_spoil(*arguments: Any) -> None:
        state(*arguments)
        with engine.begin() as connection:
            connection.execute(text(SPOILED))

    monkeypatch.setattr("nightshift.engine.candidates.ledger.state_candidates", and_spoil)
    done = call(engine, job(old()))
    assert (done["outcome"], done["counters"]["deleted"], done["counters"]["quarantined"]) == ("succeeded", 597, 3)
    assert left(engine) == [17, 18, 400]


def test_an_update_and_a_count_leave_them_too(made: Any, call: Call) -> None:
    engine = made(ROWS + SPOILED)
    change = Update("parents", set={"note": "0"}, where=WHERE, counter="changed")
    done = call(engine, job(Count("parents", where=WHERE, counter="seen"), change))
    assert done["outcome"] == "succeeded"
    assert (done["counters"]["seen"], done["counters"]["changed"], done["counters"]["quarantined"]) == (697, 697, 6)
    assert left(engine, "select id from parents where note <> '0' order by 1") == [17, 18, 400]


def test_an_interrupted_sweep_tells_each_of_them_once(made: Any, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = made(ROWS + SPOILED)
    monkeypatch.setattr("nightshift.engine.ways.HeapWalk.first", 1)
    monkeypatch.setattr("nightshift.engine.ways.HeapWalk.largest", 1)
    monkeypatch.setattr("nightshift.deadline.Deadline.near", True)
    done = call(engine, job(old()))
    for _ in range(20):
        if done["outcome"] != "interrupted":
            break
        done = call(engine, job(old()), run_id=done["run_id"])
    assert (done["outcome"], done["counters"]["deleted"], done["counters"]["quarantined"]) == ("succeeded", 597, 3)
    assert len(quarantined(engine)) == 3


def test_a_condition_that_fails_over_everything_is_the_jobs_mistake(made: Any, call: Call) -> None:
    engine = made(ROWS + "update parents set note = 'no number'")
    with pytest.raises(RunFailedError, match=r"fails over more than 100 rows of parents.*22P02"):
        call(engine, job(old()))
    assert len(left(engine)) == 600


SHOP = """
    create table shelves (kind text, id int, items int not null default 0, weight text, primary key (kind, id));
    create table moves (kind text, shelf_id int, items text);
    insert into shelves select k, i, 0, '1' from unnest(array['a', 'b', 'c']) k, generate_series(1, 4) i;
    insert into moves select k, i, '2' from unnest(array['a', 'b', 'c']) k, generate_series(1, 4) i;
"""
SUMS = "select kind, shelf_id as id, sum(items::int) as value from moves group by 1, 2"


@pytest.mark.parametrize(
    ("spoiled", "stays", "failed"),
    [
        ("update shelves set weight = 'heavy' where (kind, id) = ('a', 3)", ["a3"], 1),
        ("update moves set items = 'many' where (kind, shelf_id) = ('b', 2)", ["b1", "b2", "b3", "b4"], 4),
        (
            "update shelves set weight = 'heavy' where (kind, id) = ('a', 3);"
            "update moves set items = 'many' where (kind, shelf_id) = ('b', 2)",
            ["a3", "b1", "b2", "b3", "b4"],
            5,
        ),
    ],
    ids=["condition", "figure", "both"],
)
def test_a_figure_that_cannot_be_computed_costs_its_own_rows_alone(
    made: Any, call: Call, spoiled: str, stays: list[str], failed: int
) -> None:
    engine = made(SHOP + spoiled)
    step = Recompute("shelves", name="items", column="items", to=SUMS, where="weight::int > 0")
    figures = Job(name="figures", kind="recalculation", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)
    (told,) = call(engine, figures, dry_run=True)["plan"]["steps"]
    assert told["rows"] == 12 - failed
    done = call(engine, figures)
    assert (done["outcome"], done["counters"]["changed"], done["counters"]["failed"]) == (
        "succeeded",
        12 - failed,
        failed,
    )
    assert left(engine, "select kind || id from shelves where items <> 2 order by 1") == stays
    assert len(quarantined(engine)) == failed
