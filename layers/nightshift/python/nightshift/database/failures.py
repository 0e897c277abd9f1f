"""What a database error means, and how to describe it without the content of any row."""

from sqlalchemy.exc import DBAPIError


def sqlstate(error: BaseException) -> str | None:
    """The five-character code of a database error. None for anything else, including a lost connection."""
    if isinstance(error, DBAPIError) and error.orig is not None and error.orig.args:
        fields = error.orig.args[0]
        if isinstance(fields, dict):
            code = fields.get("C")
            return code if isinstance(code, str) else None
    return None


def is_row_error(error: DBAPIError) -> bool:
    """Whether a row's data causes the error: a bad value, a violated constraint, a refusal by a trigger or view."""
    code = sqlstate(error)
    return code is not None and (code[:2] in {"22", "23", "44"} or code == "P0001")


def is_passing(error: DBAPIError) -> bool:
    """Whether a retry of the same statement may succeed: deadlock, lock or statement timeout, serialization failure."""
    return sqlstate(error) in {"40001", "40P01", "55P03", "57014"}


def describe(error: BaseException) -> str:
    """An error in one line. Without the database's messages and details, because they may quote a row's values."""
    if not isinstance(error, DBAPIError):
        return f"{type(error).__name__}: {error}"
    fields = error.orig.args[0] if error.orig is not None and error.orig.args else {}
    if not isinstance(fields, dict):
        return f"{type(error.orig).__name__} from the database connection"
    parts = [f"{type(error).__name__}: SQLSTATE {fields.get('C')}"]
    parts += [f"{label} {fields[key]}" for key, label in (("t", "table"), ("n", "constraint")) if key in fields]
    if "W" in fields:
        parts.append(str(fields["W"]).splitlines()[0])
    return ", ".join(parts)
