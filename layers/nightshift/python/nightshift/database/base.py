"""The declarative base of the library's tables, their schema, and the kinds of column that they share."""

import datetime as dt
import uuid
from typing import Annotated, Any

from sqlalchemy import CheckConstraint, DateTime, Double, MetaData, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

NIGHTSHIFT_SCHEMA = "nightshift"
"""The schema of Nightshift's own tables."""

IN_NIGHTSHIFT = {"schema": NIGHTSHIFT_SCHEMA}

# PostgreSQL's default names, so that a schema written by hand and one made from the models are the same.
NAMING_CONVENTION = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}

Timestamp = Annotated[dt.datetime, mapped_column(DateTime(timezone=True))]
"""An instant: `timestamptz`, read and written as an aware `datetime`."""

CreatedNow = Annotated[dt.datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
"""An instant that defaults to the database's clock. Jobs write their run's `now` instead."""

UuidKey = Annotated[uuid.UUID, mapped_column(Uuid, primary_key=True, server_default=text("gen_random_uuid()"))]

Json = Annotated[dict[str, Any], mapped_column(JSONB)]

On = Annotated[bool, mapped_column(server_default=text("true"))]
Off = Annotated[bool, mapped_column(server_default=text("false"))]


def one_of(column: str, *values: str) -> CheckConstraint:
    """A check constraint: the text column holds one of these words."""
    return CheckConstraint(f"{column} in ({', '.join(repr(value) for value in values)})", name=column)


TYPES: dict[Any, Any] = {str: Text, float: Double, list[str]: ARRAY(Text)}
"""The column types for Python's types, where PostgreSQL has a better one than SQLAlchemy's default."""


class Base(DeclarativeBase):
    """The base of the library's tables. An application has its own base, and so its own metadata."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = TYPES
