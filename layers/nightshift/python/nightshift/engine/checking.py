"""What a job will meet in the live database, found before its first night: from the catalogue, as the role that asks.

A finding is an error where a run would fail or be refused, a warning where it would be slow or do less than it seems,
and a note where all is right and somebody should know. Nothing imports this before a check is asked for.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.catalogue import Closure, TableError, TableFacts, closure, find, read
from nightshift.catalogue.access import (
    Access,
    Emptied,
    Ledger,
    TriggerSource,
    access,
    emptied,
    ledger,
    place_of,
    unwritable,
)
from nightshift.catalogue.indexing import create_index
from nightshift.catalogue.obstacles import Obstacle, obstacles
from nightshift.catalogue.table import Reference
from nightshift.database import describe
from nightshift.database.failures import is_passing, refused_right, sqlstate
from nightshift.database.quoting import quoted
from nightshift.declaration import Job, Run, Step
from nightshift.declaration.job import UNINDEXED_ROWS
from nightshift.declaration.limits import limits_from
from nightshift.engine.attempt import apart, goes_on, plan_step
from nightshift.engine.pacing import GIVES_WAY
from nightshift.engine.strain import GATE_BOUNDS, Gate, gate_says
from nightshift.errors import PermanentError, SettingError

Severity = Literal["error", "warning", "note"]

LEDGER, STRAIN = "nightshift", "strain.gate"
LOOK_SECONDS = 2
"""How long one statement may take of a step that only its own plan can tell of."""

FOUND_OUTSIDE = {"files", "snapshots"}
"""Needs of jobs whose plans list what lies outside the database. That may be long, and says nothing of tables."""


@dataclass(frozen=True)
class Finding:
    """One thing that somebody should know before the first night."""

    severity: Severity
    object: str
    """The table or index, as it is written; `nightshift` for the ledger, `strain.gate` for that setting; the step where
    it is about no table."""
    what: str
    """In words. It never holds anything of a row."""
    sql: str | None = None
    """What mends it, statements with semicolons between them."""
    step: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"severity": self.severity, "step": self.step, "object": self.object, "what": self.what, "sql": self.sql}


@runtime_checkable
class Checked(Protocol):
    """A step that knows itself what it needs of the database."""

    def check(self, session: Session, run: Run) -> Iterable[Finding]: ...


def check_job(session: Session, job: Job, run: Run, environment: Mapping[str, str]) -> list[Finding]:
    """All that is to be said of a job, the worst first, in the caller's transaction, which only reads.

    environment: of its function, with the settings of the deployment.
    """
    own = ledger(session)
    found = [*_check_ledger(own), *_check_server(own, job), *_check_strain(session, job, environment, own.role)]
    for step in job.steps:
        found += [replace(each, step=step.name) for each in _check_step(session, job, step, run, own)]
    return sorted(dict.fromkeys(found), key=lambda each: get_args(Severity).index(each.severity))


def _check_step(session: Session, job: Job, step: Step, run: Run, own: Ledger) -> list[Finding]:
    names = _names(step)
    if not own.there and names and all(map(_of_the_ledger, names)):
        return []  # its tables are made with the ledger
    try:
        with apart(session) as own_session:  # with all that it has set for its own questions
            if isinstance(step, Checked):
                return list(step.check(own_session, run))
            found = list(_check_tables(own_session, step, run, own))
            if own.there and not any(each.severity == "error" for each in found) and not job.needs & FOUND_OUTSIDE:
                found += _try_plan(own_session, step, run)
    except SettingError as error:
        said = f"not all of it was looked at, as it needs more than the database, and more than is here: {error}"
        return [Finding("note", step.name, said)]
    except PermanentError as error:
        return [Finding("error", step.name, str(error))]
    except Exception as error:
        # A step holds the project's own code: where that fails, it is told, and all others are checked.
        if not goes_on(session):
            raise
        told = of_error(error, step.name, own.role)
        if isinstance(error, DBAPIError):
            return [told]
        return [replace(told, what=f"its {'code' if isinstance(step, Checked) else 'plan'} fails: {told.what}")]
    return found


def _names(step: Step) -> tuple[str, ...]:
    """The tables of a step; of one that writes none, the one that it reads."""
    return step.tables or ((step.table_name,) if hasattr(step, "table_name") else ())


def _of_the_ledger(name: str) -> bool:
    return name.replace('"', "").startswith(f"{LEDGER}.")


def _check_ledger(own: Ledger) -> Iterator[Finding]:
    if not own.there:
        yield Finding("note", LEDGER, "the ledger's schema is not there yet: the deployment makes it")
        if not own.may_make:
            sql = f"grant create on database {quoted(own.database)} to {quoted(own.role)}"
            yield Finding("error", LEDGER, f"the role {own.role} may not create the ledger's schema", sql)
    elif own.lacking:
        some = ", ".join(own.lacking[:3]) + (f" and {len(own.lacking) - 3} more" if len(own.lacking) > 3 else "")
        to = quoted(own.role)
        yield Finding(
            "error",
            LEDGER,
            f"the role {own.role} may not read and write all of the ledger: it lacks rights on {some}",
            f"grant usage on schema {LEDGER} to {to}; "
            f"grant select, insert, update, delete on all tables in schema {LEDGER} to {to}; "
            f"grant usage, select on all sequences in schema {LEDGER} to {to}",
        )


def _check_server(own: Ledger, job: Job) -> Iterator[Finding]:
    if job.destructive and not own.counting:
        yield Finding(
            "error",
            own.database,
            "track_counts is off, so nobody can tell what a deletion takes with it by cascades and triggers",
            f"alter database {quoted(own.database)} set track_counts = on",
        )


def _check_strain(session: Session, job: Job, environment: Mapping[str, str], role: str) -> Iterator[Finding]:
    """What the gate of the settings says now, where the job asks it: who misspells it finds no gate at all."""
    if job.kind not in GIVES_WAY:
        return
    try:
        gate = limits_from(environment).gate
    except SettingError as error:
        yield Finding("error", STRAIN, str(error))
        return
    if not gate.strip():
        return
    try:
        with session.begin_nested() as nested:
            for name, value in GATE_BOUNDS.items():
                session.execute(text(f"set local {name} to '{value}'"))
            says = gate_says(session, gate)
            nested.rollback()  # what it has set for itself, too
    except DBAPIError as error:
        if error.connection_invalidated or sqlstate(error) is None:
            raise
        missing = refused_right(error)
        says, sql = Gate(unknown=describe(error)), missing and f"grant {missing} to {quoted(role)}"
    else:
        sql = None
    if says.unknown is not None:
        said = f"the gate of the settings cannot be asked, so no run would wait for it: {says.unknown}"
        yield Finding("warning", STRAIN, said, sql)
    elif says.held is not None:
        yield Finding("note", STRAIN, f"the gate of the settings holds runs now: {says.held}")
    else:
        yield Finding("note", STRAIN, "the gate of the settings is open now")


def locate(session: Session, name: str) -> TableFacts | Finding:
    """A table's facts by its name, or why there are none."""
    plain = name.replace('"', "")
    place = place_of(session, name)
    if place is not None and not place.reachable:
        return Finding("error", plain, f"the role {place.role} may not use its schema", place.grant)
    try:
        with session.begin_nested():
            return read(session, find(session, name))
    except TableError as error:
        return Finding("error", plain, str(error))


def of_obstacle(facts: TableFacts, obstacle: Obstacle) -> Finding:
    said = obstacle.what if obstacle.sql else str(obstacle)
    if facts.filtered and "row security" in obstacle.what:
        said = str(obstacle)
    return Finding("error", facts.fullname, said, obstacle.sql)


def of_error(error: Exception, name: str, role: str) -> Finding:
    """A finding of what the database refused, with the grant where a right is missing; or of another failure."""
    if not isinstance(error, DBAPIError):
        return Finding("error", name, describe(error))
    if is_passing(error):
        return Finding("warning", name, f"how it is with it is unknown, as {describe(error)}; check again")
    missing = refused_right(error)
    return Finding("error", name, describe(error), missing and f"grant {missing} to {quoted(role)}")


def check_reach(session: Session, found: Closure, more: Mapping[int, Access], most: int | None) -> Iterator[Finding]:
    """What is in the way of a deletion from this table on: rights, row security, cascades without an index."""
    root = found.root
    for facts in found.reached.values():
        for obstacle in obstacles(facts, "count", visible=False):
            told = of_obstacle(facts, obstacle)
            yield replace(told, what=f"{told.what}; it refers to {root.fullname}, and a run counts what goes with it")
    yield from _check_following(session, found, more)
    yield from _check_emptied(session, found)
    yield from _check_references(found, most)


def _check_following(session: Session, found: Closure, more: Mapping[int, Access]) -> Iterator[Finding]:
    """What stands against what PostgreSQL does to the rows that refer: as the owner of their table, by its rules."""
    done: dict[tuple[int, str], list[tuple[int, Reference]]] = {}
    for parent, edge in found.edges:
        done.setdefault((edge.child, "delete" if edge.on_delete == "cascade" else "update"), []).append((parent, edge))
    for (oid, action), edges in done.items():
        facts, access, referred = found.facts(oid), more[oid], found.facts(edges[0][0]).fullname
        if access.owner_lacks.get(action):
            does = "go" if action == "delete" else "change"
            said = f"its rows {does} by cascade, which PostgreSQL does as the owner {access.owner}, who lacks a right"
            yield Finding("error", facts.fullname, said, access.owner_lacks[action])
        if oid == found.root.oid and action == "delete":
            continue  # told of the table itself
        one = "an update" if action == "update" else "a delete"
        for rule in facts.rules:
            if rule.event == action and rule.instead:
                then = f"PostgreSQL refuses to delete rows of {referred} that it refers to"
                if rule.conditional:
                    then = f"rows that it keeps would refer to rows of {referred} that are gone"
                said = f"the rule {rule.name} turns {one} into something else: {then}"
                yield Finding("error", facts.fullname, said)
        columns = {name for _, edge in edges for name in edge.columns}
        firing = replace(access, triggers=tuple(each for each in access.triggers if each.fires(action, columns)))
        told = [*check_triggers(facts, firing, action), *check_writes(session, facts, firing, action, access.owner)]
        yield from (each for each in told if each.severity != "note")


def _check_emptied(session: Session, found: Closure) -> Iterator[Finding]:
    """Columns that cannot become what a foreign key sets them to when the row goes that they refer to."""
    setting = {(edge.child, edge.name): (parent, edge) for parent, edge in found.edges if edge.on_delete != "cascade"}
    if not setting:
        return
    columns: dict[tuple[int, str], list[Emptied]] = {}
    for each in emptied(session, {child for child, _ in setting}):
        columns.setdefault((each.child, each.key), []).append(each)
    for key, (oid, edge) in setting.items():
        child, parent, some = found.facts(edge.child), found.facts(oid), columns.get(key, [])
        severity: Severity = "error" if any(leaf.blocks for leaf in child.leaves) else "note"
        kept = f"a row of {parent.fullname} that it refers to is not deleted"
        alike = next((each.alike for each in some if each.alike), None)
        if alike and (edge.on_delete == "set null" or not all(_is_null(each.default) for each in some)):
            yield Finding(
                "note" if severity == "note" else "warning",
                child.fullname,
                f"on delete {edge.on_delete} makes its rows alike, and the unique index {alike} takes one of them: "
                f"the other rows of {parent.fullname} that it refers to are not deleted",
            )
        null = [each.column for each in some if each.required and _is_null(each.default)]
        if null:
            said = f"on delete {edge.on_delete} empties {', '.join(null)}, which takes no null: {kept}"
            yield Finding(severity, child.fullname, said)
        elif edge.on_delete == "set default" and not any(_is_null(each.default) for each in some):
            there = _has_default(session, parent, edge, some)
            whose = "its default" if len(some) == 1 else "their defaults"
            default = f"on delete set default gives {', '.join(each.column for each in some)} {whose}"
            if there is None:
                said = f"{default}, which is computed: if {parent.fullname} has no row of it, {kept}"
                yield Finding("note", child.fullname, said)
            elif not there:
                yield Finding(severity, child.fullname, f"{default}, and {parent.fullname} has no such row: {kept}")


_NULL = re.compile(r"\(?null\)?(?:::.+)?", re.IGNORECASE)
_CONSTANT = re.compile(r"(?:'(?:[^']|'')*'|\(?'?-?[\d.]+'?\)?|true|false)(?:::[\w .\"]+(?:\(\d+\))?)?")


def _is_null(default: str | None) -> bool:
    return default is None or _NULL.fullmatch(default) is not None


def _has_default(session: Session, parent: TableFacts, edge: Reference, columns: Sequence[Emptied]) -> bool | None:
    """Whether the row is there that all defaults of a key refer to, by one look at its key. None: nobody knows."""
    defaults = {each.column: each.default for each in columns}
    pairs = [(theirs, defaults.get(ours)) for ours, theirs in zip(edge.columns, edge.parent_columns, strict=True)]
    if not all(default is not None and _CONSTANT.fullmatch(default) for _, default in pairs):
        return None
    same = " and ".join(f"{quoted(name)} = {default}" for name, default in pairs)
    try:
        with session.begin_nested():
            asked = f"select exists (select from {parent.quoted} where {same})"  # noqa: S608 - constants of the catalogue
            return bool(session.connection().exec_driver_sql(asked.replace("%", "%%")).scalar())
    except DBAPIError:
        return None


def _check_references(found: Closure, most: int | None) -> Iterator[Finding]:
    """Whether the rows that refer are found through an index."""
    for parent, reference in found.followed:
        if reference.indexed and reference.found_by:
            by, columns = ", ".join(reference.found_by), ", ".join(reference.columns)
            said = (
                f"the rows that refer to {parent.fullname} by {columns} are found by an index on {by} alone: about "
                f"{reference.found:,.0f} rows are read for each row that is deleted"
            )
            child = found.facts(reference.child).alone
            yield Finding("note", child.fullname, said, create_index(child, reference.columns))
    for reference, child in found.unindexed:
        columns = ", ".join(reference.columns)
        parent = next(parent for parent, each in found.followed if each is reference)
        said = f"no index finds the rows that refer to {parent.fullname} by {columns}"
        if reference.found_by:
            said += f" (one on {', '.join(reference.found_by)} finds too many)"
        bare = [leaf for leaf in child.leaves if leaf.oid in reference.bare]
        if 0 < len(bare) < len(child.leaves):
            others = f" and {len(bare) - 1} more" if len(bare) > 1 else ""
            said += f" in its partition {bare[0].name.removeprefix('public.')}{others}"
        if most is not None and child.rows > most:
            severity: Severity = "error"
            said += f": it has about {child.rows:,.0f} rows, and a run is refused (unindexed_rows is {most:,})"
        elif not any(leaf.blocks for leaf in bare or child.leaves):
            severity = "note"
            said += ": it is empty now; later it is read whole for each row that is deleted"
        else:
            severity = "warning"
            said += ": it is read whole for each row that is deleted"
        yield Finding(severity, child.fullname, said, create_index(child, reference.columns))


def check_triggers(facts: TableFacts, more: Access | None, action: str) -> Iterator[Finding]:
    """What the application's triggers do to a deletion or an update."""
    for trigger in _firing(more, action):
        said = f"the trigger {trigger.name}"
        refused = trigger.refuses(action)
        rows = "every row" if trigger.each_row else "every statement"
        if refused == "every":
            yield Finding(
                "error",
                facts.fullname,
                f"{said} refuses {rows} (its function {trigger.function} raises an error): nothing that it fires for "
                f"{'goes' if action == 'delete' else 'changes'}; ask whoever looks after the application why, and "
                "leave such rows out by a condition",
            )
        elif trigger.keeps_every_row:
            # No SQL: to switch it off would end what the application has it for, like a soft delete.
            yield Finding(
                "error",
                facts.fullname,
                f"{said} keeps every row (its function {trigger.function} returns null): this step cannot {action} "
                "them; ask whoever looks after the application what it is for, and leave the table to it, or write a "
                "Function step that does what is meant",
            )
        elif action == "delete" and trigger.deletes_elsewhere:
            yield Finding("warning", facts.fullname, trigger.deletion)
        elif trigger.may_keep_rows:
            yield Finding(
                "warning", facts.fullname, f"{said} may keep rows: a run with rows that stay unexplained fails"
            )
        elif refused == "some":
            yield Finding(
                "warning",
                facts.fullname,
                f"{said} may refuse a row (its function {trigger.function} raises an error): a run leaves it, and "
                "tells it as quarantined",
            )
        else:
            when = "for each row" if trigger.each_row else "for each statement"
            yield Finding("note", facts.fullname, f"{said} fires {when} of a batch, and is part of its time")


def check_writes(session: Session, facts: TableFacts, more: Access | None, action: str, role: str) -> Iterator[Finding]:
    """Tables that triggers write into without the right to.

    role: who does what fires them.
    """
    for each in unwritable(session, _firing(more, action), role):
        does = "writes" if each.always else "may write"
        yield Finding(
            "error" if each.always else "warning",
            facts.fullname,
            f"the trigger {each.trigger.name} {does} into {each.table} (its function {each.trigger.function}), as the "
            f"role {each.role}, which may not {each.right} there",
            each.grant,
        )


def _firing(more: Access | None, action: str) -> list[TriggerSource]:
    return [each for each in (more.triggers if more else ()) if each.fires(action)]


def check_statistics(facts: TableFacts) -> Iterator[Finding]:
    """Whether sizes and estimates are known."""
    leaves = facts.leaves
    if any(leaf.rows < 0 and leaf.blocks for leaf in leaves):
        said = "it was never analysed: how many rows it has is unknown, and the planner guesses"
        yield Finding("note", facts.fullname, said, f"analyze {facts.quoted}")


def _check_tables(session: Session, step: Step, run: Run, own: Ledger) -> Iterator[Finding]:
    """The tables that a step names. What it does in them, only its own code says: any right to write will do."""
    for name in _names(step):
        if _of_the_ledger(name) and not own.there:
            continue
        facts = locate(session, name)
        if isinstance(facts, Finding):
            yield facts
            continue
        for obstacle in obstacles(facts, "count", visible=False):
            yield of_obstacle(facts, obstacle)
        if facts.kind not in ("r", "p"):
            continue
        reach = closure(session, facts) if step.destructive else Closure(replace(facts, references=()), {}, ())
        more = access(session, (facts.oid, *reach.reached))
        wanted = ("delete", "update") if step.destructive else ("insert", "update", "delete")
        if not more[facts.oid].writes & set(wanted) and not (_of_the_ledger(name) and own.lacking):
            sql = f"grant select, {', '.join(wanted)} on {facts.quoted} to {quoted(facts.role)}"
            yield Finding("error", facts.fullname, f"the role {facts.role} may not {' or '.join(wanted)} in it", sql)
        if step.destructive and "delete" in more[facts.oid].writes:
            most = (run.parameters or {}).get(UNINDEXED_ROWS.name, UNINDEXED_ROWS.default)
            for each in check_reach(session, reach, more, most):
                # Whether it deletes here, and counts what goes along, its own code says.
                yield replace(each, severity="warning" if each.severity == "error" else "note")
            yield from check_triggers(facts, more[facts.oid], "delete")
            yield from check_writes(session, facts, more[facts.oid], "delete", facts.role)


def _try_plan(session: Session, step: Step, run: Run) -> Iterator[Finding]:
    """What only the step's own plan can tell, each of its statements within seconds."""
    try:
        with session.begin_nested() as nested:
            session.execute(text(f"set local statement_timeout to '{LOOK_SECONDS}s'"))
            plan_step(step, session, run)
            nested.rollback()  # the time limit with it
    except SettingError:
        return  # it needs more than the database, and more than is here
    except DBAPIError as error:
        if not is_passing(error):
            raise
        said = f"its plan takes longer than {LOOK_SECONDS} s, so not all that it reads was tried: nightshift plan tells"
        yield Finding("note", step.name, said)
