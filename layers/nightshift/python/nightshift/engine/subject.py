"""Which rows of which table a step means, as the live database has the table: what plan, count and batches share."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Executable,
    FromClause,
    Text,
    and_,
    cast,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement, ColumnClause

from nightshift.catalogue.cascades import Cascade, Closure, count
from nightshift.catalogue.keeping import among_themselves, going_together, keeping, kept_by
from nightshift.catalogue.table import Column, Portion, Reference, TableError, TableFacts
from nightshift.database.quoting import quoted

Action = Literal["delete", "update", "count"]


@dataclass(frozen=True)
class Subject:
    """The rows of one table for which a condition holds.

    table: what statements are aimed at, always the table that was named and never one of its partitions.
    condition: the step's own, with the age.
    age: what tells a row's age, as it stands in the table, where the step has one.
    """

    closure: Closure
    table: FromClause
    condition: ColumnElement[bool]
    age: ColumnElement[Any] | None
    action: Action
    visible_only: bool = False
    """Rows that row security hides from this role are not meant."""
    odd: tuple[tuple[str, str], ...] = ()
    """Rows that are left out because the condition fails over them, by table and key, each with its error."""
    among: tuple[Portion, ...] | None = None
    """The portions outside of which no row is meant; None: it may be in any."""

    @property
    def age_column(self) -> Column | None:
        """The column that tells the age, unless it is an expression. A function has a name as well."""
        return self.facts.columns.get(self.age.name) if isinstance(self.age, ColumnClause) else None

    @property
    def portions(self) -> tuple[Portion, ...]:
        """Those that are gone through."""
        return self.facts.portions if self.among is None else self.among

    @property
    def facts(self) -> TableFacts:
        return self.closure.root

    def prepare(self, session: Session) -> None:
        """What a transaction that works on the rows begins with."""
        if self.visible_only:
            session.execute(text("set local row_security to on"))

    @cached_property
    def referenced(self) -> ColumnElement[bool] | None:
        """That another row keeps this one, by a foreign key that PostgreSQL would not let go; None: nothing can."""
        return ~self._going if self.goes_together else self.referenced_now

    @cached_property
    def workable(self) -> ColumnElement[bool]:
        """The condition, without the rows that others refer to."""
        if self.goes_together:
            return and_(self.condition, self._going)
        return _without(self.referenced, self.condition)

    @property
    def workable_alone(self) -> ColumnElement[bool]:
        """The condition, without the rows to which another refers that is still there."""
        return _without(self.referenced_now, self.condition)

    @property
    def goes_together(self) -> bool:
        """Whether rows refer to each other so that they go in one statement, and not each alone."""
        return self.action == "delete" and bool(among_themselves(self.closure))

    @cached_property
    def _going(self) -> ColumnElement[bool]:
        """That a row can go in one statement with all the others."""
        return going_together(self.closure, self.table, self.condition)

    def workable_now(self, few: ColumnElement[bool]) -> ColumnElement[bool]:
        """That a row can go in one statement with a few others, which the condition `few` means."""
        if self.goes_together:
            return going_together(self.closure, self.table, few, few=True)
        return _without(self.referenced, few)

    @cached_property
    def referenced_now(self) -> ColumnElement[bool] | None:
        """That another row keeps this one as long as that is there, whether it is to go itself or not."""
        return kept_by(self.closure, self.table, self.condition, self._keys)

    @property
    def _keys(self) -> Sequence[tuple[TableFacts, Reference]]:
        """The foreign keys that can keep a row."""
        return keeping(self.closure) if self.action == "delete" else ()

    @property
    def changes_itself(self) -> bool:
        """Whether a row that goes may change others of the table: it empties their references, or a trigger does."""
        gone = [self.closure.facts(oid) for oid in dict.fromkeys((self.facts.oid, *self.closure.gone))]
        emptied = any(
            reference.child == self.facts.oid and reference.on_delete in ("set null", "set default")
            for facts in gone
            for reference in facts.references
        )
        # What a trigger does before an update is done to the row itself.
        return emptied or any(self.action == "delete" or not each.before for facts in gone for each in facts.triggers)

    @property
    def frees_itself(self) -> bool:
        """Whether deleting some of the rows lets go of others: they refer to each other."""
        gone = {self.facts.oid, *self.closure.gone}
        return self.action == "delete" and any(reference.child in gone for _, reference in keeping(self.closure))

    def rows(self, *columns: ColumnElement[Any]) -> Any:
        return select(*columns).select_from(self.table)

    def count(self, session: Session) -> int:
        """How many rows there are to work on now."""
        return self._number(session, self.workable)

    def count_referenced(self, session: Session) -> int:
        """How many rows are kept because others refer to them."""
        if self.referenced is None:
            return 0
        if self.goes_together:
            return self._number(session, self.condition) - self.count(session)
        return self._number(session, self.condition, self.referenced)

    def kept_by_key(self, session: Session) -> Iterator[tuple[Reference, TableFacts, int]]:
        """The foreign keys that keep rows, each with the table that refers and how many rows it keeps."""
        keys = self._keys
        own = among_themselves(self.closure) if keys else ()
        others = kept_by(self.closure, self.table, self.condition, [each for each in keys if each not in own])
        for each in keys:
            if each in own:
                going = going_together(self.closure, self.table, self.condition, own=[each])
                alone = [self.condition] if others is None else [self.condition, ~others]
                rows = self._number(session, *alone) - self._number(session, going)
            else:
                held = kept_by(self.closure, self.table, self.condition, [each])
                rows = self._number(session, self.condition, held)  # type: ignore[arg-type]
            if rows:
                yield each[1], self.closure.facts(each[1].child), rows

    def _number(self, session: Session, *where: ColumnElement[bool]) -> int:
        return session.scalar(self.rows(func.count()).where(*where)) or 0

    def cascades(self, session: Session, share: int | None = None) -> list[Cascade]:
        """What goes, or changes, with the rows. share: see `nightshift.catalogue.cascades.count`."""
        if self.action != "delete":
            return []
        name = self.age_column and self.age_column.name
        return count(session, self.closure, self.table, self.workable, name, share)

    def reads_others(self, session: Session) -> bool:
        """Whether the step's own condition depends on other rows, or on more than rows: which it means may change.

        Told by the planner: another relation, this one a second time, a subquery, a volatile function, or one of the
        application's own that may read tables.
        """
        explained = session.scalar(Explain(self.rows(literal_column("1")).where(self.condition)))
        own = {leaf.name for leaf in self.facts.leaves} | {f"{self.facts.schema}.{self.facts.name}"}
        found = list(nodes(explained[0]["Plan"]))
        scans = [f"{node['Schema']}.{node['Relation Name']}" for node in found if "Relation Name" in node]
        if set(scans) - own or len(scans) > len(set(scans)) or any("Subplan Name" in node for node in found):
            return True
        if any(node["Node Type"] in _JOINS for node in found):
            return True
        told = " ".join(str(node.get(key, "")) for node in found for key in _CONDITIONS)
        words = {
            quoted.replace('""', '"') or bare for quoted, bare in re.findall(r'(?:"((?:[^"]|"")+)"|(\w+))\(', told)
        }
        return bool(words and session.scalar(_MAY_CHANGE, {"names": sorted(words)}))

    def window(self, portion: Portion) -> list[ColumnElement[bool]]:
        """The conditions on the rows of one portion: the step's, and the bound by which partitions are left aside."""
        bound: list[ColumnElement[bool]] = [literal_column(f"({portion.bound})")] if portion.bound else []
        return [self.workable, *bound]

    def key_of(self, row: Any) -> str:
        """A row's name, for people: its table and key. It never holds more."""
        return f"{self.facts.schema}.{self.facts.name}:{','.join(map(str, row))}"

    def key_columns(self, *, shown: bool = True) -> list[ColumnElement[Any]]:
        """The key, as text; where there is none, or it must not be shown, the row's place."""
        names = self.facts.key if shown else ()
        if not names:
            return [cast(literal_column("ctid"), Text)]
        return [cast(literal_column(quoted(name)), Text).label(f"key_{place}") for place, name in enumerate(names)]

    def personal(self) -> bool:
        """Whether keys may be personal."""
        return any(self.facts.columns[name].personal for name in self.facts.key)


def _without(kept: ColumnElement[bool] | None, rows: ColumnElement[bool]) -> ColumnElement[bool]:
    """The rows that nothing keeps."""
    return rows if kept is None else and_(rows, ~kept)


class Explain(Executable, ClauseElement):
    """The planner's plan of a statement, as JSON."""

    inherit_cache = False
    _inline = True  # what the compiler asks of a statement in which it has met an UPDATE

    def __init__(self, statement: Any) -> None:
        self.statement = statement


@compiles(Explain)
def _compile_explain(element: Explain, compiler: SQLCompiler, **keywords: Any) -> str:
    return "EXPLAIN (FORMAT JSON, VERBOSE) " + compiler.process(element.statement, **keywords)


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every node of a plan, from its top."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


_JOINS = {"Nested Loop", "Hash Join", "Merge Join"}
_CONDITIONS = ("Filter", "Index Cond", "Recheck Cond", "Join Filter", "Hash Cond", "One-Time Filter")
_MAY_CHANGE = text(
    """
    select exists (select from pg_proc
                    where proname = any (:names)
                      and (provolatile = 'v'
                           or provolatile = 's' and pronamespace <> cast('pg_catalog' as regnamespace)))
    """
)

__all__ = ["Action", "Explain", "Subject", "TableError", "true"]
