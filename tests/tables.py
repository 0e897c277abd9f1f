"""Every table that has a model, by whose it is."""

from importlib import import_module

from sqlalchemy import MetaData

from nightshift.database import Base


def library() -> MetaData:
    """The library's own tables: each wing that writes some has them in its module `tables`, and the ledger those that
    no job uses in another.
    """
    for module in ("ledger.tables", "ledger.operators", "outbox.tables", "steps.tables", "store.tables"):
        import_module(f"nightshift.{module}")
    return Base.metadata
