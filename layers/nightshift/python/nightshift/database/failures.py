"""What a database error means, and how to describe it without the content of any row."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from nightshift.errors import PermanentError, printable

READ_ONLY = "25006"
"""The SQLSTATE of a statement that would write where nothing may be written."""


def sqlstate(error: BaseException) -> str | None:
    """The five-character code of a database error. None for anything else, including a lost connection."""
    code = _fields(error).get("C")
    return code if isinstance(code, str) else None


_OF_ROWS = {"20", "21", "22", "23", "27", "2F", "38", "39", "44", "P0"}
"""Classes of SQLSTATE that tell of data: values, constraints, and what functions and triggers make of them."""
_OF_WORDING = {"0A", "3F", "42"}
"""Classes that tell of the statement, or of a value that is read like one: as a number, a query or a table's name."""
_READ_VALUES = re.compile(
    r"(acl|array\w+|cash|date|datetime|encode|enum|float|formatting|hstore_\w+|int|int8|inv_api|json\w*|ltree_io"
    r"|ltxtquery_io|mbutils|multirangetypes|namespace|network|numeric|oracle_compat|parse_type|pg_locale|rangetypes"
    r"|regexp|regproc|rowtypes|timestamp|ts_cache|ts_parse|tsquery|tsvector\w*|uuid|varbit|varlena|xml)\.[cly]"
)
"""PostgreSQL's own files that work on values."""
_BEYOND_MEMORY = ("XX000", "mcxt.c")
"""Code and file of a value that is larger than PostgreSQL can hold."""
_TOO_LARGE = {"54000", "54001"}
"""A row, or its entry in an index, that is too large; a value that is too deep."""
_BY_POLICY = ("42501", "ExecWithCheckOptions")
"""Code and routine of a policy's WITH CHECK that refuses a row. The code alone means that a right is missing."""


def is_row_error(error: DBAPIError) -> bool:
    """Whether a row causes the error: a bad value, a violated constraint, a refusal by a trigger, view or policy.

    A trigger may give its refusal any code, that of a missing right or of a lock as well.
    """
    code, fields = sqlstate(error), _fields(error)
    if code is None:
        return False
    return (
        is_raised(fields)
        or code[:2] in _OF_ROWS
        or code in _TOO_LARGE
        or (code, fields.get("R")) == _BY_POLICY
        or (code, fields.get("F")) == _BEYOND_MEMORY
        or (code[:2] in _OF_WORDING and code != "42501" and _is_of_a_value(fields))
    )


def is_locked(error: DBAPIError) -> bool:
    """Whether another session held a lock for longer than was waited."""
    return sqlstate(error) == "55P03" and not is_raised(_fields(error))


def is_passing(error: DBAPIError) -> bool:
    """Whether a retry of the same statement may succeed: deadlock, lock or statement timeout, serialization failure."""
    return sqlstate(error) in {"40001", "40P01", "55P03", "57014"} and not is_raised(_fields(error))


def refused_right(error: DBAPIError) -> str | None:
    """What this role lacks, as GRANT writes it, where the server said it of the statement itself; otherwise None."""
    from nightshift.database.words import missing_grant  # see `describe`

    fields = _fields(error)
    return missing_grant(fields, error.statement or "") if fields.get("C") == "42501" and "W" not in fields else None


def describe(error: BaseException) -> str:
    """An error in one line of printable text, 2 kB at most, that any column of text can hold.

    Without the database's messages and details, because they may quote a row's values: in words of our own, with the
    names of tables, columns and constraints, and the SQLSTATE in parentheses at the end.
    """
    from nightshift.database.words import connection_in_words, in_words, of_no_statement  # most runs meet no error

    if isinstance(error, SQLAlchemyError) and not isinstance(error, DBAPIError):
        return printable(of_no_statement(error))
    if isinstance(error, PermanentError) and str(error):
        return printable(str(error))  # a reason in words of our own, for people
    if not isinstance(error, DBAPIError):
        return printable(f"{type(error).__name__}: {error}")
    if fields := _fields(error) or _fields_behind(error):
        return printable(in_words(fields, error.statement or ""))
    words = connection_in_words(error) or type(error.orig).__name__
    return printable(f"the database connection failed: {words}")


def is_raised(fields: Mapping[str, Any]) -> bool:
    """Whether PL/pgSQL's RAISE made the error: its code is the application's own choice, and may mean anything."""
    return fields.get("R") == "exec_stmt_raise"


def _is_of_a_value(fields: Mapping[str, Any]) -> bool:
    """Whether a value made the error while its row was looked at: an error of the SQL has a place in it, P or p."""
    return bool(_READ_VALUES.fullmatch(str(fields.get("F")))) and not {"P", "p"} & fields.keys()


def _fields(error: BaseException) -> dict[str, Any]:
    """What the server said of an error, field by field; empty where it is not the server's."""
    if isinstance(error, DBAPIError) and error.orig is not None and error.orig.args:
        fields = error.orig.args[0]
        return fields if isinstance(fields, dict) else {}
    return {}


def _fields_behind(error: DBAPIError) -> dict[str, Any]:
    """What the server said when it let nobody in: the driver may put its own error of closing the connection before."""
    cause = error.orig and error.orig.__cause__
    said = cause and cause.__context__
    fields = said.args[0] if said is not None and said.args and not isinstance(said, DBAPIError) else {}
    return fields if isinstance(fields, dict) else {}
