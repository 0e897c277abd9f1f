"""Finds and masks quotes of a person's address in other people's rows.

Reading every text of a table takes long, so `find` does it once for many people. To mask one person's address, only the
rows that were found are read, and those written since.
"""

import datetime as dt
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, Update, Uuid, any_, case, cast, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session

from application.models import AuditLog
from nightshift.outbox import Notification

MOST_LISTED = 10_000
"""If an address is in more rows of a table than this, the rows are not listed: the whole table is read again."""

SLACK = dt.timedelta(hours=3)
"""How much earlier than its commit a row's own time may be: notices may be two hours late, transactions take time."""

PLAIN = re.compile(r'[^@"\\\x00-\x1f]{2,}@[^@"\\\x00-\x1f]+')
"""Addresses that JSON does not escape, with at least two characters before the @. Nearly all are like this."""


@dataclass(frozen=True)
class Place:
    """A table whose rows may quote the address of a person to whom they do not belong.

    written_at: when a row was written. The column must have an index.
    exempt: rows that are left as they are.
    """

    model: type[DeclarativeBase]
    texts: tuple[InstrumentedAttribute[Any], ...]
    written_at: InstrumentedAttribute[dt.datetime]
    exempt: ColumnElement[bool] | None = None

    @property
    def key(self) -> ColumnElement[uuid.UUID]:
        (key,) = self.model.__table__.primary_key.columns  # type: ignore[attr-defined]
        return key  # type: ignore[no-any-return]


PLACES = (
    Place(
        AuditLog,
        (AuditLog.resource_id, AuditLog.metadata_, AuditLog.changes),
        AuditLog.occurred_at,
        exempt=AuditLog.legal_hold.expression,
    ),
    Place(Notification, (Notification.title, Notification.body, Notification.data), Notification.created_at),
)

Rows = list[uuid.UUID]


@dataclass(frozen=True)
class Quotes:
    """The result of one search: for each place and address the rows, or None if there are too many to list.

    since: the search saw every row with an earlier time.
    """

    since: dt.datetime
    rows: Sequence[Mapping[str, Rows | None]]

    def reach(self, number: int, address: str) -> ColumnElement[bool] | None:
        """Which rows of a place may quote the address. None: not known, because nobody searched for this address.

        An account can change its address between the search and its erasure.
        """
        place, rows = PLACES[number], self.rows[number].get(address)
        if rows is None:
            return None
        return or_(place.key == any_(literal(rows, ARRAY(Uuid))), place.written_at >= self.since)


def find(session: Session, addresses: Collection[str], *, at: dt.datetime) -> Quotes:
    """Search for all the addresses at once. `at` is the run's now; it is not after the search."""
    plain = [address for address in addresses if PLAIN.fullmatch(address)]
    found = []
    for place in PLACES:
        rows: dict[str, Rows | None] = {address: [] for address in plain}
        if plain:
            rows |= dict(session.execute(_look(place, plain)).all())
        found.append(rows)
    return Quotes(at - SLACK, found)


def masks(address: str, quotes: Quotes | None = None) -> Iterator[Update]:
    """The statements that mask an address wherever it is quoted: the whole address, in upper or lower case."""
    raw = literal(address, Text)
    for number, place in enumerate(PLACES):
        named = or_(*(func.strpos(func.lower(cast(text, Text)), _written(raw, text)) > 0 for text in place.texts))
        masked = {text: func.nightshift.mask_address(text, raw) for text in place.texts}
        statement = update(place.model).where(named).values(masked)
        if place.exempt is not None:
            statement = statement.where(~place.exempt)
        if quotes is not None and (reach := quotes.reach(number, address)) is not None:
            statement = statement.where(reach)
        yield statement


def _written(address: ColumnElement[str], text: InstrumentedAttribute[Any]) -> ColumnElement[str]:
    """The address as it appears in a text: JSON escapes a quote or backslash."""
    if not isinstance(text.expression.type, JSONB):
        return func.lower(address)
    return func.lower(func.btrim(cast(func.to_jsonb(address), Text), '"'))


def _look(place: Place, addresses: list[str]) -> Any:
    """One pass over the table. A row is compared only with addresses that have the same two characters before the @.

    A row that is listed may still have nothing to mask: `masks` makes the exact test.
    """
    sought = func.unnest(literal(addresses, ARRAY(Text))).column_valued("address", joins_implicitly=True)
    # OFFSET keeps the planner from joining the texts again for each comparison.
    said = func.concat_ws(" ", *(cast(text, Text) for text in place.texts)).label("said")
    row = select(place.key.label("key"), said).offset(0).subquery("row")
    piece = func.unnest(func.string_to_array(row.c.said, "@")).column_valued("piece", joins_implicitly=True)
    ending = func.right(func.lower(piece), 2) == func.right(func.lower(func.split_part(sought, "@", 1)), 2)
    stands = func.strpos(func.lower(row.c.said), func.lower(sought)) > 0
    ids = func.array_agg(row.c.key.distinct())
    return (
        select(sought, case((func.count(row.c.key.distinct()) <= MOST_LISTED, ids)))
        .select_from(row)
        .where(func.strpos(row.c.said, "@") > 0, ending, stands)
        .group_by(sought)
    )
