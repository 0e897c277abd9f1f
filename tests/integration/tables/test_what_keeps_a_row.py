"""Rows that others refer to: told beforehand, left as they are, and as many as PostgreSQL itself would refuse."""

import re
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from nightshift.deadline import Deadline
from nightshift.engine.ways import HeapWalk, KeyWalk
from tests.integration.tables.conftest import Call, deletion, rows

OLD = "timestamptz '2025-12-01Z'"
YOUNG = "timestamptz '2026-02-28Z'"

PARENTS = f"""
    create table parents (id int primary key, at timestamptz not null);
    insert into parents select i, case when i <= 60 then {OLD} else {YOUNG} end from generate_series(1, 80) i;
"""

TREE = f"""
    create table parents (id int primary key, above int references parents on delete cascade, at timestamptz not null);
    create index on parents (above);
    insert into parents select i, nullif(i / 2, 0), case when i % 3 > 0 then {OLD} else {YOUNG} end
        from generate_series(1, 60) i;
"""

LEVELS = "".join(
    f"""
    create table level_{n} (id int primary key, p int references {f"level_{n - 1}" if n > 1 else "parents"}
        on delete cascade);
    create index on level_{n} (p);
    insert into level_{n} select i, i from generate_series(1, 60) i;
    """
    for n in range(1, 10)
)

LADDER = "".join(
    f"""
    create table level_{n} (id int primary key, p int references {f"level_{n - 1}" if n > 1 else "parents"}
        on delete cascade, q int references {f"level_{n - 1}" if n > 1 else "parents"} on delete cascade);
    create index on level_{n} (p); create index on level_{n} (q);
    insert into level_{n} select i, i, nullif(i % 20, 0) from generate_series(1, 60) i;
    """
    for n in range(1, 7)
)


PERIODS = f"""
    create extension btree_gist;
    create table parents (id int, v tstzrange, at timestamptz not null, primary key (id, v without overlaps));
    create table c (id int, v tstzrange, foreign key (id, period v) references parents (id, period v));
    insert into parents select i, tstzrange('2025-01-01', '2025-06-01'), {OLD} from generate_series(1, 50) i;
    insert into parents select i, tstzrange('2025-06-01', '2026-01-01'), {OLD} from generate_series(1, 50) i;
    insert into c select i, tstzrange('2025-02-01', '2025-03-01') from generate_series(1, 20) i;
    insert into c select i, tstzrange('2025-05-01', '2025-07-01') from generate_series(15, 30) i;
"""


def keys(action: str, columns: str = "p") -> str:
    """Thirty rows that refer to the first thirty parents."""
    return f"create table c (id int primary key, {action}); create index on c ({columns});" + (
        "insert into c select i, i from generate_series(1, 30) i;"
    )


SHAPES = {
    "a tree": TREE
    + "create table r (p int references parents on delete restrict); create index on r (p);"
    + "insert into r select i from generate_series(1, 60) i where i % 20 = 3;",
    "a tree whose rows refer to their root": TREE.replace(
        "at timestamptz not null)", "at timestamptz not null, root int references parents)"
    )
    + "update parents set root = 1 where id % 7 = 0;",
    "a tree whose rows prefer one below": TREE.replace(
        "at timestamptz not null)", "at timestamptz not null, best int references parents)"
    )
    + "update parents set best = id * 4 where id between 3 and 12;",
    "nine levels": PARENTS
    + LEVELS
    + "create table r (p int references level_9); create index on r (p);"
    + "insert into r select i from generate_series(1, 30) i;",
    "many ways": PARENTS
    + LADDER
    + "create table r (p int references level_6); create index on r (p);"
    + "insert into r select i from generate_series(25, 30) i;",
    "a child of two that go": PARENTS
    + "create table m (id int primary key, p int references parents on delete cascade);"
    + "create table c (p int references parents on delete cascade, m int references m);"
    + "create index on m (p); create index on c (p); create index on c (m);"
    + "insert into m select i, i from generate_series(1, 60) i;"
    + "insert into c select case when i % 2 = 0 then i else 70 end, i from generate_series(1, 40) i;",
    "a child that goes with what it keeps": PARENTS
    + "create table c (p int references parents on delete cascade, q int references parents);"
    + "create index on c (p); create index on c (q);"
    + "insert into c select i, case when i % 2 = 0 then i else i + 1 end from generate_series(1, 40) i;",
    "a child that would go with what it keeps, and is too late": PARENTS
    + "create table c (q int references parents, p int references parents on delete cascade);"
    + "create index on c (p); create index on c (q);"
    + "insert into c select i, case when i % 2 = 0 then i else i + 1 end from generate_series(1, 40) i;",
    "a question and its best answer": PARENTS
    + "alter table parents add best int; create table c (id int primary key, p int references parents "
    + "on delete cascade); alter table parents add foreign key (best) references c;"
    + "create index on c (p); create index on parents (best); insert into c select i, i from generate_series(1, 80) i;"
    + "update parents set best = case when id % 4 = 0 then id + 1 else id end where id % 2 = 0 and id < 80;",
    "a circle of tables": PARENTS
    + "alter table parents add lead int; create table c (id int primary key, p int references parents "
    + "on delete cascade); alter table parents add foreign key (lead) references c on delete cascade;"
    + "create table r (c int references c on delete restrict); create index on r (c);"
    + "create index on c (p); create index on parents (lead); insert into c select i, i from generate_series(1, 80) i;"
    + "update parents set lead = id - 1 where id % 4 <> 1; insert into r values (1), (11), (20);",
    "set null, and not null": PARENTS + keys("p int not null references parents on delete set null"),
    **{
        f"set null, and {what} refuses it": PARENTS
        + domain
        + keys(f"p {kind} references parents on delete set null, kind text, check ({check})")
        + "update c set kind = 'inbox' where id % 3 = 0;"
        for what, domain, kind, check in (
            ("a condition", "", "int", "kind <> 'inbox' or p is not null"),
            ("a domain", "create domain known as int not null;", "known", "p > 0"),
        )
    },
    "set null, and a condition refuses it below": TREE
    + 'create table c (p int references parents on delete set null, "a%" int, check (num_nonnulls(p, "a%") = 1));'
    + "insert into c select i, null from generate_series(1, 60, 9) i; insert into c values (null, 1);",
    "set null below": PARENTS
    + keys("p int references parents on delete cascade")
    + "create table d (c int not null references c on delete set null); insert into d values (3), (4);",
    "some columns are set null": PARENTS
    + "alter table parents add k int default 1; alter table parents add unique (k, id);"
    + "create table c (k int not null default 1, p int, foreign key (k, p) references parents (k, id) "
    + "on delete set null (p)); insert into c (p) select i from generate_series(1, 30) i;",
    "set default, to a row that goes as well": PARENTS
    + keys("p int default 1 references parents on delete set default"),
    "heirs that have the key of a default": PARENTS
    + "create table heirs () inherits (parents); create table c (p int default 70 references parents "
    + f"on delete set default); create index on c (p); insert into heirs values (70, {OLD});"
    + "insert into c select i from generate_series(1, 30) i;",
    "set default, and some rows have no key": PARENTS
    + "alter table parents add k int unique; update parents set k = id where id % 2 = 0;"
    + "create table c (p int default 70 references parents (k) on delete set default); create index on c (p);"
    + "insert into c values (4), (70);",
    "set default, to no row": PARENTS + keys("p int default 777 references parents on delete set default"),
    "set default, to a row that stays": PARENTS + keys("p int default 70 references parents on delete set default"),
    "set default, and there is none": PARENTS + keys("p int not null references parents on delete set default"),
    "set default, to no row, and gone before that is looked at": PARENTS
    + "create table c (q int default 777 references parents on delete set default, p int references parents "
    + "on delete cascade); create index on c (p); create index on c (q);"
    + "insert into c select i, case when i % 2 = 0 then i else i + 1 end from generate_series(1, 40) i;",
    "set default, to null": PARENTS + keys("p int default null::int references parents on delete set default"),
    "emptied by one key, and gone by the other": PARENTS
    + "create table c (id int primary key, editor int references parents on delete set null, "
    + "owner int references parents on delete cascade); create table d (c int references c on delete cascade);"
    + "create table r (c int references c); create index on c (editor); create index on c (owner);"
    + "create index on d (c); create index on r (c);"
    + "insert into c select i, i + 1, i from generate_series(1, 40) i;"
    + "insert into d select i from generate_series(1, 40) i; insert into r values (2), (9), (33);",
    **{
        f"a child with heirs, on delete {action}": PARENTS
        + f"create table c (id int, p int references parents on delete {action}); create index on c (p);"
        + "create table c_1 () inherits (c); create table c_2 () inherits (c_1);"
        + "create table d (p int references parents); insert into d select i from generate_series(1, 5) i;"
        + "insert into c select i, i from generate_series(1, 20) i;"
        + "insert into c_1 select i, i from generate_series(15, 40) i;"
        + "insert into c_2 select i, i from generate_series(30, 70) i;"
        for action in ("cascade", "restrict", "set null")
    },
    **{
        f"a parent with heirs, on delete {action}": PARENTS
        + "create table heirs (primary key (id)) inherits (parents); create table heirs_of_heirs () inherits (heirs);"
        + f"insert into heirs select i, {OLD} from generate_series(1, 20) i;"
        + f"insert into heirs_of_heirs select i, {OLD} from generate_series(1, 20) i;"
        + f"create table c (p int references parents on delete {action}); create index on c (p);"
        + f"create table d (p int references heirs on delete {action}); create index on d (p);"
        + "insert into c select i from generate_series(1, 10) i; insert into d select i from generate_series(5, 20) i;"
        for action in ("cascade", "restrict", "set null")
    },
    **{
        f"a key to one partition, on delete {action}": f"""
            create table parents (k int, id int, at timestamptz not null, primary key (k, id)) partition by list (k);
            create table p_1 partition of parents for values in (1);
            create table p_2 partition of parents for values in (2) partition by range (id);
            create table p_2a partition of p_2 for values from (0) to (10);
            create table p_2b partition of p_2 for values from (10) to (1000);
            alter table p_1 add unique (id); alter table p_2 add unique (id);
            insert into parents select k, i, {OLD} from generate_series(1, 2) k, generate_series(1, 20) i;
            create table c (p int references p_1 (id) on delete {action}); create index on c (p);
            create table d (p int references p_2 (id) on delete {action}); create index on d (p);
            insert into c select i from generate_series(1, 10) i; insert into d select i from generate_series(5, 20) i;
        """
        for action in ("cascade", "restrict", "set null")
    },
    "a tree with heirs": TREE
    + "create table heirs (primary key (id)) inherits (parents);"
    + f"insert into heirs select i, i, {OLD} from generate_series(1, 9) i;"
    + "create table r (p int references parents on delete restrict); insert into r values (5), (9), (44);"
    + "create table s (p int references heirs); insert into s values (5), (7);",
    "what a period overlaps": PERIODS,
}

FOREST = f"""
    create table parents (id int primary key, above int {{key}}, at timestamptz not null);
    create index on parents (above);
    insert into parents select i, {{above}}, case when i % 90 < 60 then {OLD} else {YOUNG} end
        from generate_series(1, 300) i;
"""
PARTED = """
    create table parents (id int primary key, above int references parents, at timestamptz not null)
        partition by hash (id);
    create table p_0 partition of parents for values with (modulus 2, remainder 0);
    create table p_1 partition of parents for values with (modulus 2, remainder 1);
"""


def forest(above: str = "nullif(i / 3, 0)", key: str = "") -> str:
    return FOREST.format(above=above, key=f"references parents {key}")


FORESTS = {
    "a tree": forest(),
    "a tree by restrict": forest(key="on delete restrict"),
    "a tree that is looked at when all is done": forest(key="deferrable initially deferred"),
    "a tree of which others keep some": forest()
    + "create table c (p int references parents on delete cascade); create index on c (p);"
    + "create table r (p int references parents); create index on r (p);"
    + "insert into r select generate_series(1, 300, 41); insert into c select generate_series(1, 300);",
    "the later refer to the earlier": forest("case when i % 20 > 1 then i - 1 end"),
    "the earlier refer to the later": forest("case when i % 20 > 1 and i < 300 then i + 1 end", "deferrable"),
    "small circles, and rows that refer to themselves": forest(
        "case when i > 250 then i when i % 3 = 1 then i + 2 else i - 1 end"
    ),
    "a tree whose rows refer to another as well": forest()
    + "alter table parents add root int references parents; create index on parents (root);"
    + "update parents set root = id / 7 + 1 where id % 2 = 0;",
    "a tree of two columns, and without a key": f"""
        create table parents (k int, id int, a int, b int, at timestamptz not null, unique (k, id),
            foreign key (a, b) references parents (k, id) match full);
        create index on parents (a, b);
        insert into parents select 7, i, case when i > 2 then 7 end, nullif(i / 3, 0),
            case when i % 90 < 60 then {OLD} else {YOUNG} end from generate_series(1, 300) i;
    """,
    "heirs that have the same keys": forest("case when i % 3 = 0 and i < 300 then i + 1 end")
    + f"create table heirs () inherits (parents); insert into heirs select i, 1, {OLD} from generate_series(1, 60) i;",
    "a tree in partitions": PARTED + FOREST.format(above="nullif(i / 3, 0)", key="").partition(";")[2],
}


def as_one_statement(database: Engine) -> dict[str, int]:
    """How many rows each table has after one DELETE of the old rows without those that PostgreSQL says are still
    referred to. All of it is taken back."""
    staying = {0}
    with database.connect() as connection:
        connection.execute(text("set constraints all immediate"))
        while True:
            try:
                with connection.begin_nested():
                    connection.execute(
                        text(
                            "delete from parents where at < timestamptz '2026-01-30 02:00Z' "
                            "and (id <> all (:ids) or tableoid = to_regclass('heirs'))"
                        ),
                        {"ids": list(staying)},
                    )
                    left = counts(connection)
                break
            except DBAPIError as error:
                staying.add(int(re.findall(r"(\d+)\) is ", str(error))[0]))
        connection.rollback()
    return left


def as_plain(database: Engine, table: str = "parents") -> tuple[int, int, dict[str, int]]:
    """What PostgreSQL does with those of the old rows that it lets go when each is deleted alone: how many these are,
    how many the others, and how many rows each table has afterwards. All of it is taken back."""
    with database.connect() as connection:
        connection.execute(text("set constraints all immediate"))
        found = connection.execute(
            text(f"select tableoid, ctid::text from {table} where at < timestamptz '2026-01-30 02:00Z'")
        ).all()
        goes = [row for row in found if _goes_alone(connection, table, row)]
        places = ", ".join(f"('{leaf}'::oid, '{place}'::tid)" for leaf, place in goes)
        if goes:
            connection.execute(text(f"delete from {table} where (tableoid, ctid) in (values {places})"))
        left = counts(connection)
        connection.rollback()
    return len(goes), len(found) - len(goes), left


def _goes_alone(connection: Connection, table: str, row: Any) -> bool:
    with connection.begin_nested() as alone:
        try:
            connection.execute(text(f"delete from {table} where tableoid = '{row[0]}'::oid and ctid = '{row[1]}'::tid"))
            return True
        except DBAPIError:
            return False
        finally:
            alone.rollback()


def counts(connection: Connection) -> dict[str, int]:
    names = connection.scalars(
        text(
            "select cast(oid::regclass as text) from pg_class "
            "where relkind = 'r' and relnamespace = 'public'::regnamespace"
        )
    ).all()
    return {name: connection.scalar(text(f"select count(*) from only {name}")) or 0 for name in names}


def test_a_default_stays_while_rows_that_go_are_turned_to_it(made: Any, call: Call) -> None:
    database = made(
        PARENTS
        + "create table c (p int default 1 references parents on delete set default); create index on c (p);"
        + "insert into c select i from generate_series(2, 30) i;"
    )
    counters = call(database, deletion())["counters"]
    assert (counters["deleted"], counters["referenced"], counters["quarantined"]) == (59, 1, 0)
    assert rows(database, "c where p = 1") == 29


def test_a_default_to_which_no_row_is_turned_goes(made: Any, call: Call) -> None:
    database = made(
        PARENTS
        + "create table c (p int default 1 references parents on delete set default); create index on c (p);"
        + "insert into c select i from generate_series(61, 80) i;"
    )
    assert call(database, deletion())["counters"]["deleted"] == 60


@pytest.mark.parametrize("shape", SHAPES)
def test_as_many_rows_stay_as_postgresql_refuses_and_the_others_go(
    made: Any, call: Call, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for walk in (HeapWalk, KeyWalk):
        monkeypatch.setattr(walk, "first", 1)
    database = made(SHAPES[shape])
    with database.connect() as connection:
        before = counts(connection)
    goes, stays, left = as_plain(database)

    plan = call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    answer = call(database, deletion())

    assert (plan["rows"], plan.get("referenced", 0)) == (goes, stays)
    assert answer["counters"].get("referenced", 0) == stays, "also of those that the run itself has freed"
    kept = [note for note in plan.get("notes", ()) if "kept by the foreign key" in note]
    assert bool(kept) == bool(stays)
    along = sum(each["rows"] for each in plan.get("cascades", ()) if each["action"] == "delete")
    assert goes + along == sum(before.values()) - sum(left.values())
    if "set null" in shape:
        emptied = sum(each["rows"] for each in plan.get("cascades", ()) if each["action"] == "update")
        changed = sum(number for name, number in answer["counters"].items() if name.startswith("changed in"))
        assert changed == emptied
    assert (answer["outcome"], answer["counters"].get("quarantined", 0)) == ("succeeded", 0)
    with database.connect() as connection:
        assert counts(connection) == left


@pytest.mark.parametrize(
    ("shape", "near"), [*((each, False) for each in FORESTS), ("a tree of two columns, and without a key", True)]
)
def test_rows_that_refer_to_each_other_go_as_by_one_statement(
    made: Any, call: Call, shape: str, near: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one run, however small its batches are, and interrupted after each of them."""
    monkeypatch.setattr(KeyWalk, "first", 5)
    monkeypatch.setattr(KeyWalk, "largest", 7)
    database = made(FORESTS[shape])
    with database.connect() as connection:
        before = counts(connection)
    left, old = as_one_statement(database), rows(database, f"parents where at = {OLD}")

    plan = call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    with monkeypatch.context() as hurried:
        hurried.setattr(Deadline, "near", near)
        answer = call(database, deletion(), parameters={"max_share": 100})
        while answer["outcome"] == "interrupted":
            answer = call(database, deletion(), run_id=answer["run_id"])

    along = sum(each["rows"] for each in plan.get("cascades", ()))
    assert plan["rows"] + along == sum(before.values()) - sum(left.values()) > 0
    assert plan["rows"] + plan.get("referenced", 0) == old
    assert (answer["outcome"], answer["counters"]["deleted"]) == ("succeeded", plan["rows"])
    assert answer["counters"].get("referenced", 0) == plan.get("referenced", 0)
    assert answer["counters"].get("quarantined", 0) + answer["counters"].get("changed", 0) == 0
    with database.connect() as connection:
        assert counts(connection) == left


def test_of_two_rows_one_goes_where_a_condition_wants_one_of_them(made: Any, call: Call) -> None:
    """Each could be emptied alone. Which one stays is told beforehand, and none is refused at the deletion."""
    database = made(
        PARENTS
        + "create table c (id int primary key, p int references parents on delete set null, q int references parents "
        + "on delete set null, check (num_nonnulls(p, q) > 0)); create index on c (p); create index on c (q);"
        + "insert into c select i, i, case i % 3 when 0 then i when 1 then i + 2 else 75 end "
        + "from generate_series(1, 30) i;"
    )
    plan = call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    answer = call(database, deletion(), parameters={"max_share": 100})
    # 10 of c refer to one parent twice, 10 to one that is kept so beside another, 10 to one that is young.
    assert (plan["rows"], plan["referenced"]) == (50, 10)
    assert (answer["counters"]["deleted"], answer["counters"]["referenced"]) == (50, 10)
    assert answer["counters"].get("quarantined", 0) == 0


def test_without_an_index_what_refers_is_not_read_for_each_row(made: Any, call: Call) -> None:
    """Where rows go in circles, so that each is followed by itself."""
    database = made(
        TREE.replace("1, 60)", "1, 600)")
        + "create table r (p int references parents); insert into r select i from generate_series(1, 600, 40) i;"
        + "insert into r select null from generate_series(1, 600); analyze;"
    )
    plan = call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    with database.connect() as connection:
        scans = connection.scalar(text("select seq_scan from pg_stat_user_tables where relname = 'r'"))
    assert plan["rows"] + plan["referenced"] == 400
    assert 0 < scans < 400
    assert plan["missing"] == ['create index concurrently on "public"."r" ("p")']
