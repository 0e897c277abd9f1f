"""What a SQLSTATE means, in words: the names of tables, columns and constraints, what to do, and no value of any row.

PostgreSQL's fields carry names: `s` schema, `t` table, `c` column, `n` constraint, `d` type, `R` its own routine. Its
message `M` may quote values, so it is read only for codes where it quotes names. `D` (the row) and `H` are never read.
Of the context `W`, which may hold parameters, only the name of a function or table is.
"""

import re
import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial

from sqlalchemy.exc import ResourceClosedError, SQLAlchemyError

from nightshift.database.failures import is_raised

Fields = Mapping[str, str]
Words = Callable[[Fields, str], str]
"""The words for an error's fields, and for the statement that met it."""

_NAME = r"[^\W\d][\w$.-]{0,126}"
_QUOTED = re.compile(rf'["„»«]\s?({_NAME})\s?["“”«»]')
_REFUSED_RIGHT = re.compile(
    "(?:permission denied for|must be owner of) (table|view|materialized view|foreign table|schema|sequence|function|"
    f"procedure|database|type) ({_NAME})$"
)
_UNKNOWN_COLUMN = re.compile(rf'column "?({_NAME})"? (?:of relation "({_NAME})" )?does not exist')
_UNREADABLE = re.compile(r'invalid input syntax for type ([a-z][a-z0-9 ]{0,40})(?:: "|$)')
"""Of a type of PostgreSQL's own: what follows is the value."""
_UNKNOWN_FUNCTION = re.compile(r"(?:function|procedure|aggregate) ([\w.$]+\([\w.,$ \[\]\"]*\)) ")
_UNKNOWN_OPERATOR = re.compile(r"operator does not exist: ([\w.\[\]\" ]* ?[-+*/<>=~!@#%^&|`?]{1,63} [\w.\[\]\" ]+)$")
_REFUSED_COMMAND = re.compile(r"cannot execute ([A-Z][A-Z ]*|[a-z_]+\(\)) (?:in|during|within)")
_MISSING_VALUE = re.compile(r"A value is required for bind parameter '([^']+)'")
_UNUSED_VALUE = re.compile(r"doesn't define a bound parameter named '([^']+)'")
_CONTEXT_FUNCTION = re.compile(rf'(?:PL/pgSQL function ({_NAME})\(|SQL function "({_NAME})")')
_CONTEXT_VERB = re.compile(r'SQL statement "\s*(select|insert|update|delete)\b', re.IGNORECASE)
"""Of the innermost statement, which stands first."""
_CONTEXT_TABLE = re.compile(rf'in relation "({_NAME})"')
_TWO_TABLES = re.compile(rf'(?:update or delete) on table "({_NAME})" violates')

LEDGER = "nightshift."


def in_words(fields: Fields, statement: str) -> str:
    """An error of the server in one sentence, with its SQLSTATE in parentheses at the end."""
    code = fields.get("C", "")
    known = _BY_CODE.get(code) or _BY_CLASS.get(code[:2]) or _of_the_application
    words = _of_the_application if is_raised(fields) else known
    function = _CONTEXT_FUNCTION.search(fields.get("W", ""))
    where = f", in the function {function[1] or function[2]}" if function else ""
    return f"{words(fields, statement)}{where} (SQLSTATE {code})"


def missing_grant(fields: Fields, statement: str) -> str | None:
    """What a role lacks, as GRANT writes it: `select, delete on orders`. None: the server does not say it."""
    found = _REFUSED_RIGHT.search(fields.get("M", ""))
    if found is None or found[0].startswith("must be"):
        return None
    kind, name = found[1], found[2]
    if kind in _GRANTS:
        return f"{_GRANTS[kind]} {name}"
    used = set(re.findall(r"\b(?:select|insert|update|delete)\b", statement.lower()))
    if within := fields.get("W"):
        # What a function or a cascade does is not what the statement does: of the inner ones the first is meant.
        inner = _CONTEXT_VERB.search(within)
        used = {inner[1].lower()} if inner else set()
    elif used != {"insert"}:
        used.add("select")  # for the condition
    return f"{', '.join(sorted(used, key=_RIGHTS.index))} on {name}" if used else None


def connection_in_words(error: BaseException) -> str | None:
    """Why a connection failed or broke, as the driver or the operating system raised it. None: they did not."""
    chain: list[BaseException] = []
    cause: BaseException | None = getattr(error, "orig", None) or error
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__
    for each in chain:
        for kind, words in _OF_CONNECTIONS:
            if isinstance(each, kind):
                return words(each)
    told = [each.args[0] for each in chain if each.args and isinstance(each.args[0], str)]
    return next((words for part, words in _OF_THE_DRIVER.items() for text in told if part in text), None)


def of_no_statement(error: SQLAlchemyError) -> str:
    """Why SQLAlchemy made no statement, or did not send it: without the statement and its values."""
    behind = getattr(error, "orig", None) or error
    said = str(behind.args[0]) if behind.args else ""
    if (missing := _MISSING_VALUE.search(said)) is not None:
        return (
            f"a statement names :{missing[1]}, and nothing of that name is given: give it a value, or write \\: where "
            "the colon is SQL's own, between quotes as well"
        )
    if (unused := _UNUSED_VALUE.search(said)) is not None:
        return f"a value is given for :{unused[1]}, which its SQL does not name"
    if isinstance(error, ResourceClosedError) or "closed transaction" in said:
        return (
            "it ends the transaction that it was given (by a commit, a rollback or a close): leave that to its caller"
        )
    return f"{type(behind).__name__}: {said}"


def _plain(words: str) -> Words:
    return lambda fields, statement: words


def _quoted(fields: Fields) -> str | None:
    """The first name that the message quotes, where that is one of the statement and not a value that was cast."""
    if fields.get("C") in _ALSO_OF_CASTS and not {"P", "p"} & set(fields):
        return None
    found = _QUOTED.search(fields.get("M", ""))
    return found[1] if found else None


_ALSO_OF_CASTS = ("3F000", "42704", "42883", "42P01")
"""Codes that casts to regclass and its like use as well, for values. What stands in the statement has a position."""


def _named(kind: str, says: str, fields: Fields, statement: str) -> str:
    """`the table orders …`, or `a table …` where the message names none."""
    name = _quoted(fields)
    return f"the {kind} {name} {says}" if name else f"a {kind} {says}"


def _table(fields: Fields) -> str:
    """The table of the fields as `shop.orders`, without the schema `public`."""
    schema, table = fields.get("s"), fields.get("t")
    if table is None:
        return "a table"
    return table if schema in (None, "public") else f"{schema}.{table}"


def _locked_table(fields: Fields) -> str:
    found = _CONTEXT_TABLE.search(fields.get("W", ""))
    return f" in {found[1]}" if found else ""


def _constraint(kind: str, fields: Fields, statement: str) -> str:
    if "n" in fields and "t" not in fields and "d" in fields:
        return f"the {kind} {fields['n']} of the type {fields['d']} refuses the value"
    if "n" in fields:
        return f"the {kind} {fields['n']} of {_table(fields)} refuses the row"
    return f"{_table(fields)} refuses the row: no partition is for it, or a {kind} is not met"


def _foreign_key(fields: Fields, statement: str) -> str:
    key, child = fields.get("n", "a foreign key"), _table(fields)
    if parent := _TWO_TABLES.search(fields.get("M", "")):
        return f"rows of {child} refer to the row of {parent[1]}: the foreign key {key} keeps it"
    return f"the foreign key {key} of {child} refuses the row: what it refers to is not there, or is still referred to"


def _unique(fields: Fields, statement: str) -> str:
    return f"{_table(fields)} has a row with the same key already: the unique constraint {fields.get('n', '')}".rstrip()


def _unreadable(fields: Fields, statement: str) -> str:
    """22P02. The message names the type, and quotes the value after it."""
    found = _UNREADABLE.match(fields.get("M", ""))
    return f"a text is no value of the type {found[1] if found else 'that is wanted'}"


def _not_null(fields: Fields, statement: str) -> str:
    return f"the column {_table(fields)}.{fields.get('c', '?')} takes no null"


def _unknown_table(fields: Fields, statement: str) -> str:
    if "FROM-clause" in fields.get("M", ""):
        return _named("table", "is used and stands in no FROM of the statement", fields, statement)
    words = _named("table", "does not exist", fields, statement)
    if (_quoted(fields) or "").startswith(LEDGER):
        return f"{words}: Nightshift is not deployed to this database, or its migrations have not run"
    return f"{words}: is its name right, with its schema where that is not public?"


def _unknown_column(fields: Fields, statement: str) -> str:
    found = _UNKNOWN_COLUMN.search(fields.get("M", ""))
    column = f"the column {f'{found[2]}.' if found[2] else ''}{found[1]}" if found else "a column"
    return f"{column} does not exist: has it another name there, or is a migration missing?"


def _unknown_function(fields: Fields, statement: str) -> str:
    told = fields.get("M", "") if "P" in fields or "p" in fields else ""
    if found := _UNKNOWN_OPERATOR.search(told):
        return f"there is no operator {found[1]}: has a value another type than its column, or is an extension missing?"
    found = _UNKNOWN_FUNCTION.search(told)
    function = f"the function {found[1]}" if found else "a function or operator for these types"
    return f"{function} does not exist: is an extension or a migration missing?"


_GRANTS = {
    "schema": "usage on schema",
    "sequence": "usage on sequence",
    "function": "execute on function",
    "procedure": "execute on procedure",
    "database": "connect on database",
    "type": "usage on type",
}


def _refused_right(fields: Fields, statement: str) -> str:
    """42501. Which right a table lacks is not told: a statement that changes rows needs `select` for its condition."""
    message = fields.get("M", "")
    if "row-level security" in message:
        return (
            f"row security on {_quoted(fields) or 'a table'} hides rows from this role, or refuses them: give the role "
            "BYPASSRLS or a policy for all rows"
        )
    found = _REFUSED_RIGHT.search(message)
    if found is None:
        return "this role lacks a right: see which in the server's log"
    kind, name = found[1], found[2]
    if message.startswith("must be owner"):
        return f"this role is not the owner of the {kind} {name}"
    grant = missing_grant(fields, statement)
    # What a function or a cascade does may be done as another role.
    who = "the role that does it" if "W" in fields else "this role"
    return f"{who} may not use the {kind} {name}: grant {grant or 'what it needs on ' + name} to it"


_RIGHTS = ("select", "insert", "update", "delete")


_PARAMETER = "a parameter like $1 is written :name in SQL, with a value of that name"


def _protocol(fields: Fields, statement: str) -> str:
    if "bind message supplies" in fields.get("M", ""):
        return _PARAMETER
    return "the server and the driver do not understand each other: is there a pooler between them?"


def _read_only(fields: Fields, statement: str) -> str:
    found = _REFUSED_COMMAND.search(fields.get("M", ""))
    return f"{found[1] if found else 'the statement'} writes, and the transaction or the server is read only"


def _wrong_password(fields: Fields, statement: str) -> str:
    name = _quoted(fields)
    return f"the password of the role {name} is wrong, or it has none" if name else "the password is wrong"


def _cancelled(fields: Fields, statement: str) -> str:
    if "user request" in fields.get("M", ""):
        return "somebody cancelled the statement"
    return "the statement took longer than it may: look for what holds it up, or for a missing index"


def _serialization(fields: Fields, statement: str) -> str:
    if "recovery" in fields.get("M", ""):
        return "the replica stopped the statement, because the primary has removed rows that it reads: try again"
    return "another session changed the same rows in the meantime: try again"


def _not_let_in(fields: Fields, statement: str) -> str:
    """28000. The message names the role, the database and the address, and whether TLS was used."""
    message = fields.get("M", "")
    if "pg_hba.conf" in message:
        return "the server's pg_hba.conf lets nobody in with this role, database, address and encryption"
    return _named("role", "does not exist there, or may not sign in", fields, statement)


def _inside(fields: Fields, statement: str) -> str:
    """XX000. Only of a foreign key's own statement its message is known, and holds names alone."""
    names = _QUOTED.findall(fields.get("M", "")) if fields.get("R") == "ri_PerformCheck" else []
    if len(names) != len(("the table that is referred to", "the key", "the table that refers")):
        return "the server failed inside: see its log"
    return (
        f"a rule on {names[2]} turns what its foreign key {names[1]} does into something else: drop the rule or the key"
    )


def _of_the_application(fields: Fields, statement: str) -> str:
    """A code that a trigger or function of the application has chosen, and the names that it gives."""
    names = [f"{kind} {fields[key]}" for kind, key in (("column", "c"), ("constraint", "n")) if key in fields]
    table = [f"table {_table(fields)}"] if "t" in fields else []
    return ", ".join(["a trigger or function of the database refuses it", *table, *names])


def _of(kind: str, says: str) -> Words:
    return partial(_named, kind, says)


_BY_CODE: Mapping[str, Words] = {
    "08P01": _protocol,
    "0A000": _plain("PostgreSQL does not support what the statement wants"),
    "21000": _plain("a subquery gave more than one row"),
    "22001": _plain("a text is longer than its column takes"),
    "22003": _plain("a number is out of the range of its type"),
    "22007": _plain("a text is no date or time"),
    "22008": _plain("a date or time is out of range"),
    "22012": _plain("a division by zero"),
    "22021": _plain("a text holds a character that the database's encoding has not"),
    "22023": _plain("an argument has a value that its function does not take"),
    "22P02": _unreadable,
    "22P05": _plain("a text holds a character that the database's encoding has not"),
    "23001": _foreign_key,
    "23502": _not_null,
    "23503": _foreign_key,
    "23505": _unique,
    "23514": partial(_constraint, "check"),
    "23P01": partial(_constraint, "exclusion constraint"),
    "25006": _read_only,
    "25P02": _plain("an earlier statement of the same transaction failed"),
    "25P03": _plain("the transaction waited longer than it may between two statements"),
    "25P04": _plain("the transaction took longer than it may"),
    "26000": _plain("the server does not know a statement that was prepared: is there a pooler between them?"),
    "28000": _not_let_in,
    "28P01": _wrong_password,
    "3D000": _of("database", "does not exist on this server"),
    "3F000": _of("schema", "does not exist: is its name right, or is a migration missing?"),
    "40001": _serialization,
    "40P01": lambda fields, _: (
        f"two sessions waited for each other's locks{_locked_table(fields)} (deadlock): try again"
    ),
    "42501": _refused_right,
    "42601": _plain("the statement is no valid SQL"),
    "42702": _of("column", "could be one of several tables: write it with its table"),
    "42703": _unknown_column,
    "42704": _of("type, role or setting", "does not exist"),
    "42710": _of("object", "exists already"),
    "42803": _plain(
        "an aggregate, like count or max, stands where none may, as in a condition (write it as a subquery), or a "
        "column beside one is not grouped"
    ),
    "42725": _plain("more than one function or operator fits: write the values with a cast"),
    "42804": _plain("a value has another type than its column or operator takes"),
    "42809": _of("object", "is of a kind that the statement does not fit, as a view is no table"),
    "42846": _plain("a value cannot be turned into the type that is wanted"),
    "42883": _unknown_function,
    "42P01": _unknown_table,
    "42P02": _plain(_PARAMETER),
    "42P07": _of("table or index", "exists already"),
    "42P10": _plain("no unique index has the columns that ON CONFLICT names"),
    "42P18": _plain(f"the type of a value cannot be told from the statement: write it with a cast; {_PARAMETER}"),
    "42P20": _plain("a window function stands where none may, as in a condition: write it as a subquery"),
    "428C9": _plain("a column is generated by the database, and takes no value from the statement"),
    "53100": _plain("the server's disk is full"),
    "53200": _plain("the server is out of memory"),
    "53300": _plain("the server or the role has as many connections as it may: try again, or raise max_connections"),
    "55P03": lambda fields, _: (
        f"another session held a lock{_locked_table(fields)} for longer than is waited: try again, or see who holds it "
        "in pg_locks"
    ),
    "57014": _cancelled,
    "57P01": _plain("the server ended the session: it was stopped, or somebody ended it"),
    "57P02": _plain("the server ended the session after a crash of another one"),
    "57P03": _plain("the server is starting, stopping or recovering: try again"),
    "57P04": _plain("the database was dropped"),
    "57P05": _plain("the server ended the session, because it did nothing for long"),
    "58P01": _plain("a file is missing on the server: see its log"),
    "P0001": _of_the_application,
    "XX000": _inside,
    "XX001": _plain("a table is damaged: see the server's log"),
    "XX002": _plain("an index is damaged: see the server's log, and reindex it"),
}

_BY_CLASS: Mapping[str, Words] = {
    "08": _plain("the connection to the server failed"),
    "22": _plain("a value does not fit its type or function"),
    "23": partial(_constraint, "constraint"),
    "25": _plain("the transaction is in a state in which the statement is not taken"),
    "28": _plain("the server does not let this role in"),
    "2B": _plain("other objects depend on what the statement drops"),
    "38": _plain("a function of the database failed"),
    "39": _plain("a function of the database failed"),
    "40": _plain("the transaction was rolled back: try again"),
    "42": _plain("the statement does not fit the tables of this database"),
    "44": _of("view", "would not show the row, and so refuses it"),
    "53": _plain("the server lacks disk, memory or connections"),
    "54": _plain("the statement or a row is larger than PostgreSQL takes"),
    "55": _plain("a table or another object is in use, or in a state in which the statement is not taken"),
    "57": _plain("the server or an administrator stopped the statement"),
    "58": _plain("the server's disk or system failed: see its log"),
    "F0": _plain("the server's configuration file is locked"),
    "HV": _plain("a foreign table failed: see the other server"),
    "P0": _of_the_application,
    "XX": _plain("the server failed inside: see its log"),
}

_OF_CONNECTIONS: tuple[tuple[type[BaseException], Callable[[BaseException], str]], ...] = (
    (
        ssl.SSLCertVerificationError,
        lambda error: f"the server's certificate cannot be verified: {getattr(error, 'verify_message', 'unknown')}",
    ),
    (ssl.SSLEOFError, lambda _: "the connection broke"),
    (ssl.SSLError, lambda _: "the server and this machine agree on no TLS"),
    (socket.gaierror, lambda _: "the name of this host is not known"),
    (ConnectionRefusedError, lambda _: "nothing listens at this host and port"),
    (FileNotFoundError, lambda _: "there is no socket at this path"),
    (TimeoutError, lambda _: "no answer in time: is there a firewall, or another network between?"),
    (ConnectionError, lambda _: "the connection broke"),
    (OSError, lambda error: str(getattr(error, "strerror", None) or "the network failed").lower()),
)

_OF_THE_DRIVER = {
    "Server refuses SSL": "the server offers no TLS, and without it nobody connects over a network",
    "password was provided": "the server asks for a password, and none was given",
    "password authentication": "the server asks for a password, and none was given",
    "network error": "the connection broke",
    "connection is closed": "the connection broke",
    "communication error": "the connection failed",
}
"""pg8000 tells what it raises itself apart by its text only."""
