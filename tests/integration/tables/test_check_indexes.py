"""Whether an index serves a table with partitions, heirs, or a key of several columns; and the SQL that makes it."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from cli.planning import plan_in
from cli.project import proposed
from cli.times import now
from nightshift.catalogue.proposals import suggest
from nightshift.errors import RunFailedError
from tests.integration.tables.conftest import Call, deletion
from tests.integration.tables.test_check import PARENTS, Look, look as look, mend, url_of

SPLIT = """
    create table children (id int, parent_id int references parents on delete cascade) partition by range (id);
    create table c1 partition of children for values from (0) to (200);
    create table c2 (parent_id int, id int);
    alter table children attach partition c2 for values from (200) to (900);
    insert into children select i, i from generate_series(1, 300) i;
    analyze c1; analyze c2;
"""
MANY = "update pg_class set reltuples = {} where relname = '{}';"


def test_a_table_with_partitions_has_the_rows_of_all_of_them(look: Look, call: Call) -> None:
    script = PARENTS + SPLIT + MANY.format(90_000, "c1") + MANY.format(60_000, "c2")

    (told,) = look(script, deletion())
    with pytest.raises(RunFailedError, match="has about 150000 rows and no index to find them by"):
        call(look.database, deletion())

    assert (told["severity"], told["object"]) == ("error", "children")
    assert "about 150,000 rows, and a run is refused" in told["what"]
    mend(look.database, told["sql"])
    assert look.again(deletion()) == []
    assert call(look.database, deletion())["counters"]["deleted"] == 300


def test_a_partition_that_was_never_analysed_counts_as_full_as_the_others(look: Look) -> None:
    script = PARENTS + SPLIT.replace("analyze c2;", "") + MANY.format(90_000, "c1")
    (told,) = look(script, deletion())
    assert (told["severity"], "rows, and a run is refused" in told["what"]) == ("error", True)


def test_an_index_on_each_partition_is_one_on_the_table(look: Look, call: Call) -> None:
    each = "create index on c1 (parent_id); create index on c2 (parent_id, id);"
    assert look(PARENTS + SPLIT + each + MANY.format(500_000, "c1"), deletion()) == []
    assert call(look.database, deletion())["counters"]["deleted"] == 300


def test_of_a_table_that_is_indexed_but_for_a_small_partition_only_that_one_counts(look: Look, call: Call) -> None:
    script = PARENTS + SPLIT + "create index on c1 (parent_id);" + MANY.format(500_000, "c1")
    (told,) = look(script, deletion())

    assert (told["severity"], "by parent_id in its partition c2: it is read whole" in told["what"]) == ("warning", True)
    assert call(look.database, deletion())["counters"]["deleted"] == 300


def test_only_the_partition_without_an_index_gets_one(look: Look) -> None:
    (told,) = look(PARENTS + SPLIT + "create index mine on c1 (parent_id)", deletion())

    assert told["sql"].split("; ") == [
        'create index "children_parent_id_lookup" on only "public"."children" ("parent_id")',
        'create index concurrently "c2_parent_id_lookup" on "public"."c2" ("parent_id")',
        'alter index "public"."children_parent_id_lookup" attach partition public.mine',
        'alter index "public"."children_parent_id_lookup" attach partition "public"."c2_parent_id_lookup"',
    ]
    mend(look.database, told["sql"])
    assert look.again(deletion()) == []
    assert not_valid(look.database) == []


def test_an_index_that_was_declared_and_not_built_is_gone_on_with(look: Look) -> None:
    begun = """
        create index begun on only children (parent_id); create index mine on c1 (parent_id);
        alter index begun attach partition mine;
    """
    (told,) = look(PARENTS + SPLIT + begun, deletion())

    mend(look.database, told["sql"])
    assert look.again(deletion()) == []
    assert not_valid(look.database) == []


def test_the_sql_for_many_partitions_blocks_nobody(look: Look) -> None:
    """Of two levels: each second partition is partitioned itself."""
    leaves = 30
    script = (
        "create table children (id int, parent_id int references parents on delete cascade, k int)"
        " partition by list (id);"
    )
    for number in range(leaves // 2):
        script += (
            f"create table c{number} partition of children for values in ({2 * number});"
            f"create table d{number} partition of children for values in ({2 * number + 1}) partition by list (k);"
            f"create table e{number} partition of d{number} for values in (1);"
        )
    (told,) = look(
        PARENTS + script + f"insert into children select i, i, 1 from generate_series(1, {leaves - 1}) i; analyze;",
        deletion(),
    )

    statements = told["sql"].split("; ")
    assert sum(each.startswith("create index concurrently ") for each in statements) == leaves
    kinds = ("create index concurrently ", "alter index ")
    assert all(each.startswith(kinds) or " on only " in each for each in statements)
    mend(look.database, told["sql"])
    assert look.again(deletion()) == []
    assert not_valid(look.database) == []


def test_a_long_name_stays_within_what_postgresql_takes(look: Look) -> None:
    name = "ä" * 30
    script = PARENTS + SPLIT.replace("parent_id", "ref_" + "x" * 50).replace("c1", name)
    (told,) = look(script, deletion())
    mend(look.database, told["sql"])
    assert look.again(deletion()) == []
    assert not_valid(look.database) == []


HEIRS = (
    PARENTS
    + """
    create table heirs () inherits (parents);
    insert into heirs select i, timestamptz '2025-12-01Z' + i * interval '1 min', 'new', 'x', i
      from generate_series(1001, 1500) i;
    analyze heirs;
"""
)


def test_a_table_that_inherits_has_no_index_of_the_other(look: Look, call: Call) -> None:
    (told,) = look(HEIRS, deletion())

    assert told["sql"] == 'create index concurrently on "public"."heirs" ("at")'
    assert "no index finds the old rows by at in heirs" in told["what"]
    assert "about 500 rows" in told["what"]
    mend(look.database, told["sql"])
    assert look.again(deletion()) == []


def test_the_plan_knows_the_rows_of_all_that_inherit(look: Look) -> None:
    look(HEIRS, deletion())
    (step,) = plan_in(url_of(look.database), deletion(), now(), {})["plan"]["steps"]
    (parent,) = plan_in(url_of(look.database), deletion(where="n <= 300"), now(), {})["plan"]["steps"]

    assert (step["rows"], step["about"], parent["rows"], parent["about"]) == (800, 800, 300, 800)
    assert parent["bytes"] < step["bytes"]


TENANTS = """
    create table parents (tenant int, b int, at timestamptz not null, primary key (tenant, b));
    create index on parents (at);
    insert into parents select i % {tenants}, i, timestamptz '2025-12-01Z' + i * interval '1 min'
      from generate_series(1, 600) i;
    create table children (id int primary key, tenant int, b int,
                           foreign key (tenant, b) references parents on delete cascade);
    insert into children select b, tenant, b from parents;
    create index on children {index};
    analyze;
"""


@pytest.mark.parametrize(
    ("tenants", "index", "severity"),
    [
        (1, "(tenant, b)", None),
        (1, "(b, tenant)", None),
        (1, "(b, tenant, id)", None),
        (1, "(b, tenant) where b is not null", None),
        (1, "(tenant)", "warning"),
        (1, "(tenant, id)", "warning"),
        (3, "(tenant, id, b)", "warning"),
        (1, "(b) where id < 100", "warning"),
        (1, "using hash (tenant)", "warning"),
        (1, "(id, tenant, b)", "warning"),
        (200, "(tenant)", "note"),
        (1, "(b, id, tenant)", "note"),
    ],
)
def test_an_index_serves_a_key_of_several_columns_by_all_of_them(
    look: Look, tenants: int, index: str, severity: str | None
) -> None:
    found = look(TENANTS.format(tenants=tenants, index=index), deletion())

    assert [each["severity"] for each in found] == ([severity] if severity else [])
    if severity == "note":
        assert f"about {3 if tenants == 200 else 1} rows are read for each row" in found[0]["what"]
    for each in found:
        mend(look.database, each["sql"])
        assert look.again(deletion()) == []


def test_one_value_of_many_rows_spoils_an_index_on_a_part_of_the_key(look: Look) -> None:
    """On average a tenant has few rows; but one has nearly all of them."""
    skewed = TENANTS.format(tenants="1 + i / 400 * i", index="(tenant)").replace("i % 1 +", "1 +")
    (told,) = look(skewed, deletion())
    assert told["severity"] == "warning"
    assert "(one on tenant finds too many)" in told["what"]


def not_valid(database: Engine) -> list[str]:
    with database.connect() as connection:
        asked = text("select cast(indexrelid as regclass)::text from pg_index where not indisvalid")
        return list(connection.scalars(asked))


def test_the_index_that_suggest_writes_for_the_tests_is_made_on_partitions_too(
    empty_database: Engine, tmp_path: Path
) -> None:
    with empty_database.begin() as connection:
        connection.exec_driver_sql(
            "create table request_logs (created_at timestamptz not null, path text) partition by range (created_at);"
            "create table l1 partition of request_logs for values from ('2025-01-01Z') to ('2030-01-01Z');"
            "insert into request_logs select timestamptz '2025-03-01Z' from generate_series(1, 300) i; analyze"
        )
    (tmp_path / "tests/own").mkdir(parents=True)
    with Session(empty_database) as session:
        found = suggest(session, (), now=now())

    *_, indexes = proposed.write("chores", [each.as_json() for each in found.proposals], tmp_path)[0]

    with empty_database.begin() as connection:
        connection.exec_driver_sql(indexes.read_text())
        made = "select count(*) from pg_indexes where indexname like '%created_at_lookup'"
        assert connection.scalar(text(made)) == 2
    assert not_valid(empty_database) == []
