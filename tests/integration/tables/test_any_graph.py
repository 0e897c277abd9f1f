"""Tables that refer to each other in every way, drawn by chance: what is planned goes, and all is left as one plain
statement over the same rows would leave it.

See `tests.seeds` for how to draw more of them, or one again.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from nightshift.deadline import Deadline
from nightshift.engine.ways import HeapWalk, KeyWalk
from tests.conftest import TRIED, NewDatabase
from tests.integration.tables.conftest import Call, deletion, digest
from tests.seeds import HALVES, again, for_a_while

SECONDS_BY_DEFAULT = 6
ACTIONS = ("cascade", "cascade", "set null", "set null", "no action", "no action", "restrict")
AGES = "timestamptz '2025-12-01Z', timestamptz '2025-12-01Z', timestamptz '2026-02-28Z', null"
OLD = "at < timestamptz '2026-01-30 02:00Z'"


class Graph:
    """Two to five tables, the first of which is cleaned up, with some rows and all keys that chance gives them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - chance, and no secret
        self.tables = ["parents", *(f"t{number}" for number in range(1, self.chance.randint(2, 5)))]
        self._rows = {table: self.chance.randint(15, 40) for table in self.tables}
        self._parted = {table for table in self.tables if self.chance.random() < 0.15}
        self._keys: list[str] = []
        self._referring: list[tuple[str, str]] = []
        """Tables with the columns by which they refer to the first one."""
        made = [line for table in self.tables for line in self._table(table)]
        columns = [line for table in self.tables for line in self._references(table)]
        self.script = "\n".join([*made, *columns, *self._keys, "analyze;"])
        """Foreign keys come last: with rows to be checked no table can be altered."""
        self.condition = self._condition()

    def _table(self, table: str) -> Iterator[str]:
        parted = table in self._parted
        yield f"create table {table} (id int primary key, at timestamptz){' partition by hash (id)' if parted else ''};"
        for number in range(2 if parted else 0):
            yield f"create table {table}_{number} partition of {table} for values with (modulus 2, remainder {number});"
        age = f"(array[{AGES}])[1 + ({self.chance.randint(1, 9)} * i + {self.chance.randint(0, 9)}) % 4]"
        yield f"insert into {table} (id, at) select i, {age} from generate_series(1, {self._rows[table]}) i;"
        if self.chance.random() < 0.5:
            yield f"create index on {table} (at);"

    def _references(self, table: str) -> Iterator[str]:
        """The first table is referred to most, and refers itself less."""
        for _ in range(self.chance.choice((0, 0, 1, 1, 2) if table == "parents" else (0, 1, 1, 2, 2, 3))):
            to = self.chance.choice([*self.tables, "parents", "parents"])
            if self.chance.random() < 0.25 and to not in self._parted:
                yield from self._by_two_columns(table, to)
            else:
                yield from self._by_one_column(table, to)

    def _by_one_column(self, table: str, to: str) -> Iterator[str]:
        column, action = f"f{len(self._keys)}", self.chance.choice(ACTIONS)
        if to == "parents":
            self._referring.append((table, column))
        required = action != "set null" and self.chance.random() < 0.2
        empty = 0.0 if required else self.chance.choice((0.2, 0.5, 0.8))
        values = (self._one_of(to, empty) for _ in range(self._rows[table]))
        yield f"alter table {table} add {column} int;"
        yield self._fill(table, [column], [[value] for value in values])
        if required:
            yield f"alter table {table} alter {column} set not null;"
        yield from self._key(table, column, f"{to} (id)", action)

    def _by_two_columns(self, table: str, to: str) -> Iterator[str]:
        """MATCH FULL, or SIMPLE with rows of which only one column refers."""
        number, action, full = len(self._keys), self.chance.choice(ACTIONS), self.chance.random() < 0.4
        columns = [f"f{number}", f"g{number}"]
        yield f"alter table {to} add u{number} int; update {to} set u{number} = id * 10;"
        yield f"alter table {to} add unique (id, u{number});"
        yield f"alter table {table} add {columns[0]} int, add {columns[1]} int;"
        rows = []
        for _ in range(self._rows[table]):
            one = self._one_of(to, 0.4)
            half = not full and self.chance.random() < 0.2
            rows.append([one, None if half or one is None else one * 10])
        yield self._fill(table, columns, rows)
        if action == "set null" and not full and self.chance.random() < 0.4:
            action = f"set null ({columns[1]})"
        match = f"match {'full' if full else 'simple'}"
        yield from self._key(table, ", ".join(columns), f"{to} (id, u{number}) {match}", action)

    def _key(self, table: str, columns: str, to: str, action: str) -> Iterator[str]:
        when = self.chance.choice(("", "", "deferrable", "deferrable initially deferred"))
        self._keys.append(f"alter table {table} add foreign key ({columns}) references {to} on delete {action} {when};")
        if self.chance.random() < 0.8:
            yield f"create index on {table} ({columns});"

    def _one_of(self, table: str, empty: float) -> int | None:
        return None if self.chance.random() < empty else self.chance.randint(1, self._rows[table])

    @staticmethod
    def _fill(table: str, columns: list[str], rows: list[list[int | None]]) -> str:
        told = ", ".join(
            f"({', '.join(['null::int' if value is None else str(value) for value in (number, *row)])})"
            for number, row in enumerate(rows, start=1)
        )
        sets = ", ".join(f"{column} = v.{column}" for column in columns)
        return f"update {table} set {sets} from (values {told}) as v (row, {', '.join(columns)}) where id = v.row;"

    def _condition(self) -> str | None:
        """Beside the age: none, one of the row's own, one that reads other rows, or one that may change."""
        found: list[str | None] = [None, None, "id % 3 > 0", "random() >= 0"]
        for table, column in self._referring[:2]:
            found.append(f"not exists (select from {table} c where c.{column} = parents.id)")
            found.append(f"id not in (select {column} from {table} where {column} is not null)")
        return self.chance.choice(found)


@pytest.mark.parametrize("half", range(HALVES))
def test_what_is_planned_goes_in_any_graph_of_tables(
    half: int,
    new_database: NewDatabase,
    library_only: str,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    tried: Counter[str] = Counter()
    for seed in for_a_while(half, SECONDS_BY_DEFAULT):
        graph = Graph(seed)
        first, interrupted = graph.chance.choice((1, 2, 20)), graph.chance.random() < 0.5
        for walk in (HeapWalk, KeyWalk):
            monkeypatch.setattr(walk, "first", first)
        with new_database(template=library_only) as ours:
            with ours.begin() as connection:
                connection.exec_driver_sql(graph.script)
            ours.dispose()
            with new_database(template=str(ours.url.database)) as plain:
                differs = _differs(graph, ours, plain, call, monkeypatch if interrupted else None)
        told = again(seed, "tests/integration/tables/test_any_graph.py")
        assert not differs, f"{told}\n{differs}\n{graph.condition}\n{graph.script}"
        tried.update(["graphs", *(["interrupted after every batch"] if interrupted else [])])
        tried["foreign keys"] += graph.script.count("foreign key")
    record_property(TRIED, f"random tables: {dict(tried)}")


def _differs(
    graph: Graph, ours: Engine, plain: Engine, call: Call, interrupts: pytest.MonkeyPatch | None
) -> dict[str, Any]:
    """What is not as it should be, by what it is."""
    job = deletion(where=graph.condition)
    (plan,) = call(ours, job, dry_run=True)["plan"]["steps"]
    before = _counts(graph, ours)
    meant = _ids(ours, OLD if graph.condition is None else f"{OLD} and ({graph.condition})")
    if interrupts is None:
        result = call(ours, job)
    else:
        with interrupts.context() as hurried:
            hurried.setattr(Deadline, "near", True)
            result = call(ours, job)
            while result["outcome"] == "interrupted":
                result = call(ours, job, run_id=result["run_id"])
    planned = Counter({"parents": plan["rows"]})
    planned.update({each["table"]: each["rows"] for each in plan.get("cascades", ()) if each["action"] == "delete"})
    gone = meant - _ids(ours, "true")
    with plain.begin() as connection:
        _delete(connection, sorted(gone))
    counters, missing = result["counters"], before - _counts(graph, ours)
    counted = Counter({"parents": counters["deleted"]})
    counted.update({table: counters.get(f"cascaded in {table}", 0) for table in graph.tables})
    pairs = {
        "outcome": (result["outcome"], "succeeded"),
        "quarantined": (counters["quarantined"], 0),
        "referenced": (counters.get("referenced", 0), plan.get("referenced", 0)),
        "planned": (missing, +planned),
        "counted": (missing, +counted),
        "left": (digest(ours), digest(plain)),
    }
    return {what: found for what, found in pairs.items() if found[0] != found[1]}


def _delete(connection: Connection, gone: list[int]) -> None:
    """By one statement; or one by one, where PostgreSQL refuses together what it lets go alone: which of a row's keys
    it looks at first depends on what else goes."""
    delete = text("delete from parents where id = any(:gone)")
    try:
        with connection.begin_nested():
            connection.execute(text("set constraints all immediate"))
            connection.execute(delete, {"gone": gone})
    except IntegrityError:
        for each in gone:
            connection.execute(delete, {"gone": [each]})


def _counts(graph: Graph, database: Engine) -> Counter[str]:
    with database.connect() as connection:
        return Counter({table: connection.scalar(text(f"select count(*) from {table}")) or 0 for table in graph.tables})


def _ids(database: Engine, condition: str) -> set[int]:
    with database.connect() as connection:
        return set(connection.scalars(text(f"select id from parents where {condition}")))
