"""The conditions, age and new values of a step over the rows of a table: checked, and sent with the columns' types."""

import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, String, Table, bindparam, literal, select, text
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    ClauseElement,
    ClauseList,
    ColumnClause,
    ExpressionClauseList,
    Grouping,
)
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.sql.visitors import cloned_traverse, iterate
from sqlalchemy.types import NullType

from nightshift.catalogue.ages import SqlType
from nightshift.catalogue.table import Column, TableFacts
from nightshift.declaration.fields import must_be
from nightshift.errors import DeclarationError

TEXTS = {"text", "varchar", "bpchar", "name"}
PLAIN_TYPES = TEXTS | {
    *("bool", "int2", "int4", "int8", "numeric", "float4", "float8", "uuid"),
    *("timestamptz", "timestamp", "date", "time", "timetz", "interval", "json", "jsonb", "bytea", "inet", "cidr"),
}
"""Types that SQLAlchemy sends values as, but for texts. A value for any other type is sent as the column's own."""

COMPARISONS = {
    *(operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge),
    *(operators.in_op, operators.not_in_op, operators.between_op, operators.not_between_op),
    *(operators.is_distinct_from, operators.is_not_distinct_from),
}
"""Operators whose two sides are of the same type. Those of a range or an array may have an element on one of them."""


def check_condition(field: str, condition: Any, table: Table | None) -> None:
    """Refuse a value that is not a condition on the rows of this table alone.

    Python answers `Table.column is None` itself, so it is no SQL condition, and a function that forgets its `return`
    gives none at all: every row would be meant. And another table outside a subquery would be joined row by row: a
    DELETE could then delete every row.

    table: None, if only the live database knows it.

    Raises:
        DeclarationError: with the remedy.
    """
    clause = isinstance(condition, ClauseElement | InstrumentedAttribute) and not isinstance(condition, FromClause)
    example = "Table.status == 'closed'" if table is not None else "column('status') == 'closed'"
    must_be(clause, field, f"a condition, like {example}", condition)
    if others := [each for each in _read_by(condition, table) if each is not table]:
        remedy = "write it as a subquery, like exists().where(…)"
        if table is None:
            own = "a column of the step's own table is written column('status')"
            raise DeclarationError(f"{field} reads {_named(others[0])}: {own}; if that is meant, {remedy}")
        raise DeclarationError(
            f"{field} reads {_named(others[0])} as well as {table}, and would match every row with every row there; "
            f"{remedy}"
        )


def check_text(field: str, condition: str, values: Mapping[str, Any]) -> None:
    """Refuse a text that says nothing, or whose names and values are not the same.

    Raises:
        DeclarationError: with the remedy.
    """
    must_be(bool(condition.strip()), field, 'a condition in SQL, like "status = :status"', condition)
    named = set(text(condition).compile().params)
    if missing := sorted(named - set(values)):
        raise DeclarationError(
            f"{field} names :{missing[0]}, and values= has nothing of that name; if the colon is SQL's own, write \\:"
        )
    if unused := sorted(set(values) - named):
        if f":{unused[0]}::" in condition:
            raise DeclarationError(
                f"{field} has :{unused[0]}::, which is not read as a name: write cast(:{unused[0]} as …)"
            )
        raise DeclarationError(f"{field} does not name :{unused[0]}, which values= has")


OWN_TYPES: tuple[tuple[type, str], ...] = (
    *((bool, "bool"), (dt.datetime, "timestamp"), (dt.date, "date"), (dt.time, "time"), (dt.timedelta, "interval")),
    *((int, "int8"), (Decimal, "numeric"), (float, "float8"), (UUID, "uuid")),
)
MOST_OF_INT4 = 2**31


def as_in_python(values: Mapping[str, Any]) -> list[BindParameter[Any]]:
    """The values with the types that Python gives them, but for texts, which may be meant to be of any type."""
    return [bindparam(name, value, SqlType(known)) for name, value in values.items() if (known := _own(value))]


def _own(value: Any) -> str | None:
    known = next((name for kind, name in OWN_TYPES if isinstance(value, kind)), None)
    if known == "timestamp" and value.tzinfo is not None:
        return "timestamptz"
    return "int4" if known == "int8" and -MOST_OF_INT4 <= value < MOST_OF_INT4 else known


def check_column(field: str, column: Any, table: Table | None) -> None:
    """Refuse a value that is not a column, or an expression of columns, of the table.

    table: None, if only the live database knows it.

    Raises:
        DeclarationError: with the remedy.
    """
    if isinstance(column, str) and (
        column.strip() if table is None else column in {each.name for each in table.columns}
    ):
        return
    fits = isinstance(column, InstrumentedAttribute | ColumnElement)
    must_be(fits, field, f"a column{'' if table is None else f' of {table}'}, or the name of one", column)
    if table is None and (others := _read_by(column, None)):
        raise DeclarationError(
            f"{field} is of {_named(others[0])}; a column of the step's own table is given by name, or as column('at')"
        )
    if table is not None and _read_by(column, table) != [table]:
        raise DeclarationError(f"{field} must be a column of {table}; got {column}")


def check_new_values(field: str, values: Any, table: Table | None) -> None:
    """Refuse a value that does not map columns of the table to new values.

    table: None, if only the live database knows it. Its columns are given by name.

    Raises:
        DeclarationError: with the remedy.
    """
    kinds = (str, InstrumentedAttribute, ColumnElement) if table is None else (InstrumentedAttribute, ColumnElement)
    columns = isinstance(values, Mapping) and all(isinstance(column, kinds) for column in values)
    example = "{Table.status: 'closed'}" if table is not None else "{'status': 'closed'}"
    must_be(bool(columns and values), field, f"new values by column, like {example}", values)
    if table is None:
        return
    for column in values:
        if getattr(column.expression, "table", None) is not table:
            raise DeclarationError(f"{field} must give new values of {table}; got {column}")


def _read_by(clause: Any, table: Table | None) -> list[Any]:
    """The tables that a clause reads outside its subqueries."""
    core = clause.__clause_element__() if isinstance(clause, InstrumentedAttribute) else clause
    columns = (element for element in iterate(core) if isinstance(element, ColumnClause))
    tables = {column.table for column in columns if column.table is not None}
    own = set() if table is None else {table}
    if tables <= own:  # the usual case, without the question that would configure every mapper at import
        return list(tables)
    return list(select(literal(1)).where(clause).get_final_froms())


def _named(table: Any) -> str:
    return str(getattr(table, "fullname", table))


def typed(condition: ColumnElement[bool], facts: TableFacts) -> Any:
    """Send values with the type that the database's column has: an enum, a citext or a domain takes no plain text, nor
    does a time or a uuid take one.
    """

    def of_the_table(held: Any, *, bare: bool) -> Column | None:
        if not isinstance(held, ColumnClause) or (bare if held.table is not None else not bare):
            return None
        own = bare or getattr(held.table, "name", None) == facts.name
        return facts.columns.get(held.name) if own else None

    def visit(binary: BinaryExpression[Any], *, bare: bool) -> None:
        compares = binary.operator in COMPARISONS
        for held, others in ((binary.left, binary.right), (binary.right, binary.left)):
            if (known := of_the_table(held, bare=bare)) is None or known.base in TEXTS:
                continue
            for value in _values(others):
                if known.base in PLAIN_TYPES:
                    odd = compares and _is_text(value.value) and isinstance(value.type, String | NullType)
                else:
                    odd = compares or _is_text(value.value)
                if odd:
                    value.type = SqlType(known.sent_as)

    # A column without a table is one of this table's, but in a subquery it may be another's.
    subqueries = [element for element in iterate(condition) if isinstance(element, SelectBase)]
    own = cloned_traverse(condition, {"stop_on": subqueries}, {"binary": partial(visit, bare=True)})
    return cloned_traverse(own, {}, {"binary": partial(visit, bare=False)})


def _values(compared: Any) -> Iterator[BindParameter[Any]]:
    """The values on one side of a comparison: one, or those of a list or of a BETWEEN."""
    if isinstance(compared, BindParameter):
        if compared.value is not None:
            yield compared
    elif isinstance(compared, ClauseList | ExpressionClauseList | Grouping):
        for child in compared.get_children():
            yield from _values(child)


def _is_text(value: Any) -> bool:
    """Whether it is a text, or the list of an IN that has one."""
    return any(isinstance(each, str) for each in value) if isinstance(value, list | tuple) else isinstance(value, str)


def typed_value(value: Any, column: Column) -> Any:
    """A new value with the column's type, where SQLAlchemy would send plain text."""
    return (
        literal(value, SqlType(column.sent_as)) if isinstance(value, str) and column.base not in PLAIN_TYPES else value
    )
