"""A newer Nightshift for a project: what nobody has edited is replaced, what somebody has is told and left."""

import difflib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cli.project.changes import between
from cli.project.files import MADE, MANIFEST, Manifest, digest_of, nightshift_files, put, version_of
from cli.refusals import RefusedError


class Fate(StrEnum):
    """What an upgrade does with a file of Nightshift's that it does not simply leave as it is."""

    ADDED = "added"
    REPLACED = "replaced"
    REMOVED = "removed"
    KEPT = "edited here, left as it is"
    IN_THE_WAY = "new in Nightshift, but here is another file of that name, left as it is"
    KEPT_WITHOUT = "edited here, no longer Nightshift's, left as it is"
    GONE = "removed here, changed in Nightshift, left out"


MIGRATIONS = "layers/nightshift/python/nightshift/database/migrations/versions/"
LEFT = (Fate.KEPT, Fate.IN_THE_WAY, Fate.KEPT_WITHOUT)


@dataclass(frozen=True)
class Change:
    """One file, and the difference between what is here and what Nightshift has, where it is left."""

    name: str
    fate: Fate
    difference: str = ""


@dataclass(frozen=True)
class Upgrade:
    """An upgrade that is worked out and not carried out yet. `news` is what the change log says in between."""

    project: Path
    source: Path
    old: str
    new: str
    news: str
    changes: tuple[Change, ...]
    files: dict[str, str]

    @property
    def left(self) -> list[Change]:
        """Files that somebody has to look at."""
        return [change for change in self.changes if change.fate in (*LEFT, Fate.GONE)]

    @property
    def rewritten(self) -> list[str]:
        """Migrations that read otherwise now. A database that has run them does not get what is new in them."""
        same = (Fate.ADDED, Fate.IN_THE_WAY)
        return [each.name for each in self.changes if each.name.startswith(MIGRATIONS) and each.fate not in same]

    def carry_out(self) -> None:
        """Change the project. Broken off at any point, it can be repeated: the manifest is written last."""
        for change in self.changes:
            target = self.project / change.name
            if change.fate in (Fate.ADDED, Fate.REPLACED):
                put(target, (self.source / change.name).read_bytes(), like=self.source / change.name)
            elif change.fate is Fate.REMOVED:
                target.unlink()
                _remove_empty(target.parent, self.project)
        Manifest(self.new, self.files).write(self.project)


def work_out(project: Path, source: Path) -> Upgrade:
    """Compare a project with a checkout of Nightshift, and change nothing.

    Refuses a folder that holds no Nightshift, one that is a project itself, and an older version.
    """
    if not source.is_dir():
        raise RefusedError(f"{source} is no folder: name a checkout of the newer Nightshift")
    if source.resolve() == project.resolve():
        raise RefusedError(f"{source} is this project itself: name a checkout of the newer Nightshift")
    if (source / MANIFEST).exists():
        raise RefusedError(f"{source} is a project, whose files may be edited: name a checkout of Nightshift itself")
    manifest, new = Manifest.read(project), version_of(source)
    theirs = nightshift_files(source)
    changes = tuple(_changes(project, source, manifest.files, theirs))
    news = between(source, manifest.version, new)
    kept = {name: digest for name, digest in theirs.items() if name not in MADE}
    return Upgrade(project, source, manifest.version, new, news, changes, kept)


def _changes(project: Path, source: Path, ours: Mapping[str, str], theirs: dict[str, str]) -> Iterator[Change]:
    for name in sorted({*ours, *theirs}):
        here, there = project / name, source / name
        now = digest_of(here) if here.is_file() else None
        if name in MADE:
            if now is None:
                yield Change(name, Fate.ADDED)
        elif name not in theirs:
            if now == ours[name]:
                yield Change(name, Fate.REMOVED)
            elif now is not None:
                yield Change(name, Fate.KEPT_WITHOUT)
        elif now == theirs[name]:
            continue
        elif name not in ours:
            taken = now is not None or here.exists()
            yield Change(name, Fate.IN_THE_WAY, _difference(name, here, there)) if taken else Change(name, Fate.ADDED)
        elif now is None:
            if ours[name] != theirs[name]:
                yield Change(name, Fate.GONE)
        elif now == ours[name]:
            yield Change(name, Fate.REPLACED)
        else:
            yield Change(name, Fate.KEPT, _difference(name, here, there))


def _difference(name: str, here: Path, there: Path) -> str:
    """What would turn the file that is here into Nightshift's, for `patch -p1`."""
    try:
        ours, theirs = (path.read_text().splitlines(keepends=True) for path in (here, there))
    except (UnicodeDecodeError, OSError):
        return f"{name} cannot be shown as text\n"
    lines = difflib.unified_diff(ours, theirs, f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _remove_empty(folder: Path, project: Path) -> None:
    """Remove folders in which nothing is left but what Python has compiled."""
    while folder != project and all(entry.name == "__pycache__" for entry in folder.iterdir()):
        shutil.rmtree(folder)
        folder = folder.parent
