"""Which jobs are a project's own."""

from importlib import import_module

from nightshift.declaration import registry
from tests.own_tables import is_there


def own_jobs() -> list[str]:
    """The jobs of all packs but the example's, where that is there."""
    example = "tests.integration.example"
    theirs = import_module(f"{example}.packs").PACKS if is_there(f"{example}.packs") else ()
    return sorted(name for name, each in registry().items() if each.pack not in theirs)
