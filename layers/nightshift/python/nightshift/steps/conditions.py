"""Checks of a step over the rows of a table: its conditions, age and new values."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Table, literal, select, text
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.expression import ClauseElement, ColumnClause
from sqlalchemy.sql.visitors import iterate

from nightshift.declaration.fields import must_be
from nightshift.errors import DeclarationError


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
    if table is None:
        return
    if others := [each for each in _read_by(condition, table) if each is not table]:
        raise DeclarationError(
            f"{field} reads {_named(others[0])} as well as {table}, and would match every row with every row there; "
            "write it as a subquery, like exists().where(…)"
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
        raise DeclarationError(f"{field} does not name :{unused[0]}, which values= has")


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
    if table is None:
        return
    if _read_by(column, table) != [table]:
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


def _read_by(clause: Any, table: Table) -> list[Any]:
    """The tables that a clause reads outside its subqueries."""
    core = clause.__clause_element__() if isinstance(clause, InstrumentedAttribute) else clause
    columns = (element for element in iterate(core) if isinstance(element, ColumnClause))
    tables = {column.table for column in columns if column.table is not None}
    if tables <= {table}:  # the usual case, without the question that would configure every mapper at import
        return list(tables)
    return list(select(literal(1)).where(clause).get_final_froms())


def _named(table: Any) -> str:
    return str(getattr(table, "fullname", table))
