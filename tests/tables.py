"""Every table that has a model, by whose it is."""

from importlib import import_module

from sqlalchemy import MetaData

from nightshift.database import Base


def library() -> MetaData:
    """The library's own tables: each wing that writes some has them in its module `tables`."""
    for wing in ("ledger", "outbox", "steps", "store"):
        import_module(f"nightshift.{wing}.tables")
    return Base.metadata
