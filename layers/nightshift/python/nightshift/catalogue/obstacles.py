"""What keeps a table from being worked on rightly, and what to do about it."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from nightshift.catalogue.table import TableError, TableFacts
from nightshift.database.quoting import quoted

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a composite type",
}


class Obstacle(NamedTuple):
    """Why a table cannot be worked on rightly, what to do, and the SQL that does it where there is one."""

    what: str
    remedy: str
    sql: str | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


Action = Literal["delete", "update", "count"]

_RIGHTS: Mapping[Action, tuple[str, ...]] = {
    "delete": ("delete", "select"),
    "update": ("select", "update"),
    "count": ("select",),
}


def refuse_unworkable(facts: TableFacts, action: Action, *, visible: bool) -> None:
    """Refuse what the engine could not do rightly.

    visible: rows that row security hides from this role are not meant.

    Raises:
        TableError: the message says why, and what to do.
    """
    for obstacle in obstacles(facts, action, visible=visible):
        raise TableError(str(obstacle))


def obstacles(facts: TableFacts, action: Action, *, visible: bool) -> Iterator[Obstacle]:
    """All that keeps the engine from doing it rightly; see `refuse_unworkable`."""
    name = facts.fullname
    if facts.kind not in ("r", "p"):
        yield Obstacle(f"{name} is {_KINDS.get(facts.kind, 'no table')}", "name the table that holds the rows")
        return
    foreign = [leaf.name for leaf in facts.leaves if leaf.filenode == 0]
    if foreign:
        yield Obstacle(
            f"{name} has rows in the foreign table {foreign[0]}", "name the tables that are here, one by one"
        )
    for rule in facts.rules:
        if rule.event == action:
            one = f"{'an' if action == 'update' else 'a'} {action}"
            does = f"turns {one} into something else" if rule.instead else f"does something else with each {action}"
            # No SQL: to drop it would end what the application has it for, and rows would go that were to be kept.
            yield Obstacle(
                f"the rule {rule.name} on {name} {does}",
                "ask whoever looks after the application what it is for, and leave the table to it, or write a "
                "Function step that does what is meant",
            )
    for leaf in facts.unidentified:
        if action in leaf.events:
            sql = f"alter table {leaf.table} replica identity full"
            yield Obstacle(
                f"the publication {leaf.publication} tells each {action} in {leaf.table}, which has no key that would "
                f"identify the row, so PostgreSQL refuses it",
                f"{sql}, or give it a primary key",
                sql,
            )
    if facts.filtered and not visible:
        yield Obstacle(
            f"row security on {name} hides rows from this role",
            "give the role BYPASSRLS, or say visible_rows=True in the step, if only the rows that it sees are meant "
            "(with a policy that shows it every row, these are all)",
            f"alter role {quoted(facts.role)} bypassrls",
        )
    if not facts.reachable:
        sql = f"grant usage on schema {quoted(facts.schema)} to {quoted(facts.role)}"
        yield Obstacle(f"this role may not use the schema of {name}", f"{sql} (SQLSTATE 42501)", sql)
    if missing := [right for right in _RIGHTS[action] if right not in facts.may]:
        sql = f"grant {', '.join(missing)} on {facts.quoted} to {quoted(facts.role)}"
        yield Obstacle(f"this role may not {' or '.join(missing)} in {name}", f"{sql} (SQLSTATE 42501)", sql)
