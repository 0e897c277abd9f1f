"""The declarative base of the application's tables, and the kinds of column that they share."""

from importlib import import_module
from ipaddress import IPv4Address, IPv6Address
from pkgutil import iter_modules
from typing import Annotated

from sqlalchemy import CHAR, MetaData
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import DeclarativeBase, mapped_column

from nightshift.database.base import NAMING_CONVENTION, TYPES

Country = Annotated[str, mapped_column(CHAR(2))]
"""ISO 3166-1 alpha-2."""

Currency = Annotated[str, mapped_column(CHAR(3))]
"""ISO 4217."""

IpAddress = Annotated[IPv4Address | IPv6Address, mapped_column(INET)]


class Base(DeclarativeBase):
    """One metadata for the application's tables and for the tables that its jobs write. Tests of migrations and of
    erasure read it."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = TYPES


def metadata() -> MetaData:
    """The whole metadata, with every table in it."""
    package = import_module("application.models")
    for module in iter_modules(package.__path__):
        import_module(f"application.models.{module.name}")
    return Base.metadata
