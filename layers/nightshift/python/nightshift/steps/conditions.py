"""Checks of a step over the rows of a model: its conditions, age and new values must fit the model's table."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, literal, select
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.expression import ClauseElement, ColumnClause
from sqlalchemy.sql.visitors import iterate

from nightshift.declaration.fields import must_be
from nightshift.errors import DeclarationError


def check_condition(field: str, condition: Any, table: Table) -> None:
    """Refuse a value that is not a condition on the rows of this table alone.

    Python answers `Table.column is None` itself, so it is no SQL condition. And another table outside a subquery would
    be joined row by row: a DELETE could then delete every row.

    Raises:
        DeclarationError: with the remedy.
    """
    clause = isinstance(condition, ClauseElement | InstrumentedAttribute)
    must_be(clause, field, "a condition, like Table.status == 'closed'", condition)
    if others := [each for each in _read_by(condition, table) if each is not table]:
        raise DeclarationError(
            f"{field} reads {_named(others[0])} as well as {table}, and would match every row with every row there; "
            "write it as a subquery, like exists().where(…)"
        )


def check_column(field: str, column: Any, table: Table) -> None:
    """Refuse a value that is not a column, or an expression of columns, of the table.

    Raises:
        DeclarationError: with the remedy.
    """
    if isinstance(column, str) and column in {each.name for each in table.columns}:
        return
    fits = isinstance(column, InstrumentedAttribute | ColumnElement)
    must_be(fits, field, f"a column of {table}, or the name of one", column)
    if _read_by(column, table) != [table]:
        raise DeclarationError(f"{field} must be a column of {table}; got {column}")


def check_new_values(field: str, values: Any, table: Table) -> None:
    """Refuse a value that does not map columns of the table to new values.

    Raises:
        DeclarationError: with the remedy.
    """
    columns = isinstance(values, Mapping) and all(
        isinstance(column, InstrumentedAttribute | ColumnElement) for column in values
    )
    must_be(bool(columns and values), field, "new values by column, like {Table.status: 'closed'}", values)
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
