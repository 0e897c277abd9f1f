"""What a step over rows will meet in the live database; see `nightshift.engine.checking`."""

import re
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import literal_column, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnClause

from nightshift.catalogue import Closure, TableError
from nightshift.catalogue.access import Access, access
from nightshift.catalogue.indexing import create_index
from nightshift.catalogue.keeping import keeping
from nightshift.catalogue.measures import doubts
from nightshift.catalogue.obstacles import obstacles
from nightshift.catalogue.partitions import OF_ANY_AGE, Partition, against_whole, pending, tree_of, unrelated_key
from nightshift.catalogue.table import Leaf, TableFacts
from nightshift.database.quoting import quoted
from nightshift.declaration import UNINDEXED_ROWS, Run
from nightshift.declaration.partitions import Whole
from nightshift.engine.checking import (
    Finding,
    Severity,
    check_reach,
    check_statistics,
    check_triggers,
    check_writes,
    locate,
    of_error,
    of_obstacle,
)
from nightshift.engine.subject import Explain, Subject, nodes
from nightshift.store.backups import unreadable

if TYPE_CHECKING:
    from nightshift.steps.rows import RowStep

_MENDING = re.compile(r": ((?:grant|create schema) [^;]+)")
"""The SQL at the end of what stands against whole partitions."""

LARGE_ROWS = 1_000_000
"""Less is read within a second. From this many rows on it matters that a table is read whole to find the old ones."""


def check_rows(step: "RowStep", session: Session, run: Run) -> Iterator[Finding]:
    """The table, then what a deletion reaches, then the step's own statement as the planner sees it."""
    facts = locate(session, step.sql_name)
    if isinstance(facts, Finding):
        yield facts
        return
    if step.visible_rows:
        session.execute(text("set local row_security to on"))  # as every batch of the step does
    reach = step.reach(session, facts)
    most = (run.parameters or {}).get(UNINDEXED_ROWS.name, UNINDEXED_ROWS.default)
    more = access(session, (facts.oid, *reach.reached))
    found = [of_obstacle(facts, each) for each in obstacles(facts, step.action, visible=step.visible_rows)]
    if facts.kind in ("r", "p"):
        if step.action != "count":
            found += check_triggers(facts, more.get(facts.oid), step.action)
            found += check_writes(session, facts, more.get(facts.oid), step.action, facts.role)
        found += check_reach(session, reach, more, most)
        found += check_statistics(facts)
        found += _check_partitions(session, facts, step, getattr(step, "partitions", None))
        if step.visible_rows and facts.filtered:
            said = "row security hides rows from this role, and they stay: the step says visible_rows=True"
            found.append(Finding("note", facts.fullname, said))
    yield from found
    if any(each.severity == "error" and each.object == facts.fullname for each in found):
        return
    subject = yield from _subject(step, session, run, reach)
    if subject is None:
        return
    yield from _kept(subject)
    yield from _check_measure(step, session, run, facts)
    if (yield from explain(session, facts, step.explained(run, subject))):
        yield from _check_age(step, session, run, subject, more[facts.oid])


def _subject(step: "RowStep", session: Session, run: Run, reach: Closure) -> Generator[Finding, None, Subject | None]:
    try:
        with session.begin_nested():
            return step.subject_in(session, run, reach)
    except TableError as error:
        yield Finding("error", reach.root.fullname, str(error))
    except DBAPIError as error:
        yield of_error(error, reach.root.fullname, reach.root.role)
    return None


def explain(session: Session, facts: TableFacts, statement: Any) -> Generator[Finding, None, bool]:
    """Have the planner look at a statement: whether it takes it, types and rights on all that it reads included."""
    try:
        with session.begin_nested():
            session.execute(Explain(statement))
    except DBAPIError as error:
        yield of_error(error, facts.fullname, facts.role)
        return False
    return True


def _check_partitions(session: Session, facts: TableFacts, step: "RowStep", setting: Whole | None) -> Iterator[Finding]:
    """What stands against partitions going as a whole: what divides them, and that only the owner takes one away."""
    if facts.kind == "p":
        for name, remedy in pending(session, facts):
            said = (
                f"the partition {name} is half detached, so nothing that the step does reaches its rows: whoever began "
                "it did not come to its end"
            )
            yield Finding("warning", facts.fullname, said, remedy)
    if setting is None:
        return
    age = str(getattr(step.measured_by, "name", step.measured_by))
    if facts.kind == "p" and (key := unrelated_key(session, facts, age)) is not None:
        then = "its rows are deleted one by one" if setting.rest == "delete" else "the step does nothing"
        said = (
            f"no partition can ever go as a whole: it is partitioned by {key}, which does not say how old a row is by "
            f"{age}, so {then}; leave partitions= out of the step, or measure the age by what it is partitioned by"
        )
        yield Finding("warning", facts.fullname, said)
    against = against_whole(session, facts, to_schema=setting.schema)
    for each in against:
        sql = _MENDING.search(each)
        yield Finding("error", facts.fullname, each if sql is None else each[: sql.start()], sql and sql[1])
    if against:
        return
    staying: dict[str, list[Partition]] = {}
    tree = tree_of(session, facts, to_schema=setting.schema)
    for partition in tree.every:
        inner = partition not in tree.children.get(facts.oid, ())
        if partition.against is not None and not (inner and partition.against == OF_ANY_AGE):
            staying.setdefault(partition.against.partition(": alter table")[0], []).append(partition)
    for reason, some in staying.items():
        names = [each.name for each in some]
        told = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        foreign = [each for each in some if each.against and ": alter table" in each.against]
        owner = [f"alter table {each.quoted} owner to {quoted(facts.role)}" for each in foreign]
        severity: Severity = "warning" if foreign else "note"
        said = f"the partition {told} would not go as a whole: {reason}"
        yield Finding(severity, facts.fullname, said, "; ".join(owner) or None)


def _kept(subject: Subject) -> Iterator[Finding]:
    """Rows that stay because others refer to them."""
    here, below = list[str](), list[str]()
    for parent, each in keeping(subject.closure):
        names = here if parent.oid == subject.facts.oid else below
        names.append(subject.closure.facts(each.child).fullname)
    told = [f"{', '.join(dict.fromkeys(here))} refers to them"] if here else []
    told += [f"{', '.join(dict.fromkeys(below))} refers to what would go with them"] if below else []
    if told:
        said = f"rows stay as long as {', or '.join(told)}, and are counted as referenced"
        yield Finding("note", subject.facts.fullname, said)


def _check_measure(step: "RowStep", session: Session, run: Run, facts: TableFacts) -> Iterator[Finding]:
    """Whether the column can be a time in what the step says that it measures."""
    if step.cutoff(run) is None:
        return
    for doubt in doubts(session, facts, step.measured_by, step.measured_in):
        if not doubt.never:
            yield Finding("error", facts.fullname, doubt.what)
        elif step.where is None:
            yield Finding("warning", facts.fullname, doubt.what)


def _check_age(step: "RowStep", session: Session, run: Run, subject: Subject, more: Access) -> Iterator[Finding]:
    """Whether an index finds the old rows, where the step's age is a column of the table."""
    facts, age = subject.facts, subject.age
    bare = isinstance(age, ColumnClause) and age.name in facts.columns
    if age is None or not bare or step.cutoff(run) is None:
        return
    leaves = facts.leaves
    if not any(leaf.blocks for leaf in leaves):
        return  # empty: an index would find nothing faster
    whole = _read_whole(session, subject)
    if not whole:
        return
    name = str(age.name)
    if (broken := more.broken_indexes.get(name) or more.broken_indexes.get(quoted(name))) is not None:
        said = f"the index {broken} on {name} is invalid, so nothing uses it: its build was broken off"
        yield Finding("warning", facts.fullname, said, f"reindex index concurrently {broken}")
        return
    rows = sum(max(0.0, leaf.rows) for leaf in whole)
    place, what = "", "the whole table"
    if len(whole) < len(leaves):
        others = f" and {len(whole) - 1} more" if len(whole) > 1 else ""
        place, what = f" in {whole[0].name.removeprefix('public.')}{others}", "all of it"
    said = f"no index finds the old rows by {name}{place}: each run reads {what}, about {rows:,.0f} rows"
    if rows >= LARGE_ROWS:
        yield Finding("warning", facts.fullname, said, create_index(facts, (name,)))
    else:
        yield Finding("note", facts.fullname, f"{said}, which is quick now", create_index(facts, (name,)))


def _read_whole(session: Session, subject: Subject) -> list[Leaf]:
    """The leaves in which the planner has no way to the rows but to read all: asked with that forbidden."""
    with session.begin_nested() as nested:
        session.execute(text("set local enable_seqscan to off"))
        explained = session.scalar(Explain(subject.rows(literal_column("1")).where(subject.workable)))
        nested.rollback()
    scans = [node for node in nodes(explained[0]["Plan"]) if node["Node Type"] == "Seq Scan"]
    whole = {f"{node['Schema']}.{node['Relation Name']}" for node in scans}
    return [leaf for leaf in subject.facts.leaves if leaf.name in whole]


def check_figures(
    rows: "RowStep", session: Session, run: Run, figure: str, statement: Callable[[Session, Run], Any]
) -> Iterator[Finding]:
    """A step that corrects a figure of a table's rows: the table, the right to update the figure, and its query."""
    facts = locate(session, rows.sql_name)
    if isinstance(facts, Finding):
        yield facts
        return
    if rows.visible_rows:
        session.execute(text("set local row_security to on"))
    found = [of_obstacle(facts, each) for each in obstacles(facts, "update", visible=rows.visible_rows)]
    yield from found
    if found:
        return
    more = access(session, (facts.oid,)).get(facts.oid)
    yield from check_triggers(facts, more, "update")
    yield from check_writes(session, facts, more, "update", facts.role)
    yield from check_statistics(facts)
    try:
        with session.begin_nested():
            asked = statement(session, run)
    except TableError as error:
        yield Finding("error", facts.fullname, str(error))
    except DBAPIError as error:
        yield of_error(error, facts.fullname, facts.role)
    else:
        yield from _check_right(session, facts, figure)
        yield from explain(session, facts, asked)


def _check_right(session: Session, facts: TableFacts, figure: str) -> Iterator[Finding]:
    """A role may have the right to update some columns, and not this one."""
    asked = text("select has_column_privilege(cast(:oid as oid), :figure, 'update')")
    if not session.scalar(asked, {"oid": facts.oid, "figure": figure}):
        sql = f"grant update ({quoted(figure)}) on {facts.quoted} to {quoted(facts.role)}"
        yield Finding("error", facts.fullname, f"this role may not update {facts.fullname}.{figure}", sql)


def check_export(session: Session) -> Iterator[Finding]:
    """Tables that would not be in a backup, or not with all their rows."""
    role = quoted(str(session.scalar(text("select current_user"))))
    for name, remedy in unreadable(session).items():
        sql = f"{remedy} to {role}" if remedy.startswith("grant ") else f"alter role {role} bypassrls"
        yield Finding("warning", name, "this role may not read all of it, so it is not in the backup", sql)
