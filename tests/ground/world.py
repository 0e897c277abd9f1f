"""The shop as the project, so that a test of the library says the same whatever application stands beside the library.

What the library finds by name, it finds in two packages: `application` (who can be told something, kinds of notice,
migrations) and `functions` (packs and jobs).
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import functions
import functions.platform
from nightshift.declaration import packs, registry, this_project
from nightshift.outbox.kinds import notice_kinds
from nightshift.outbox.mail import templates

FUNCTIONS = Path(__file__).parent / "functions"
"""The shop's packs: self-contained, so that they can also be copied beside those of a project."""


@contextmanager
def shop_alone() -> Iterator[None]:
    """Inside the block the shop is the whole project."""
    hidden = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "application"}
    for name in hidden:
        del sys.modules[name]
    for name in ("application", "application.project"):
        sys.modules[name] = import_module(f"tests.ground.{name}")
    try:
        with packs_in(FUNCTIONS):
            yield
    finally:
        for name in ("application", "application.project"):
            del sys.modules[name]
        sys.modules.update(hidden)
        _forget()


@contextmanager
def shop_beside() -> Iterator[None]:
    """Inside the block the shop's packs stand beside the project's own."""
    with packs_in(*functions.__path__, FUNCTIONS):
        yield


def project_with_shop(project: Path, folder: Path) -> Path:
    """A project of links to another's files, with the shop's packs beside its own: to be deployed from `folder`.

    Only what finds its project by its own place is copied: the functions, and the command.
    """
    (project / ".build").mkdir(exist_ok=True)  # shared, so that no layer is built twice
    for entry in project.iterdir():
        if entry.name not in ("functions", "cli", ".git"):
            (folder / entry.name).symlink_to(entry)
    no_byte_code = shutil.ignore_patterns("__pycache__")
    for name in ("functions", "cli"):
        shutil.copytree(project / name, folder / name, ignore=no_byte_code)
    for pack in FUNCTIONS.iterdir():
        if pack.is_dir() and pack.name != "__pycache__":
            shutil.copytree(pack, folder / "functions" / pack.name, ignore=no_byte_code)
    return folder


@contextmanager
def packs_in(*folders: str | Path) -> Iterator[None]:
    """Inside the block the packs are those of these folders."""
    before = list(functions.__path__)
    functions.__path__[:] = map(str, folders)
    _forget()
    try:
        yield
    finally:
        functions.__path__[:] = before
        _forget()


def _forget() -> None:
    """What the library has found and remembers."""
    for found in (this_project, notice_kinds, templates, packs, registry):
        found.cache_clear()
