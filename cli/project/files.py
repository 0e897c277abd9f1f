"""Which files are Nightshift's: the one place that says so. `init` copies them, `upgrade` replaces them.

A project keeps them in .nightshift.json with their digests, so that an upgrade can tell what somebody has edited.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from cli.refusals import RefusedError

ROOT = Path(__file__).parents[2]
"""The project, or the checkout of Nightshift, whose command this is."""

MANIFEST = ".nightshift.json"

OWN = (
    *("layers/application/*", "tests/own/*", "README.md", "cdk.json", "own.mk", "CODEOWNERS", ".github/*", MANIFEST),
    *("local/example/*", "bench/example/*", "tests/*/example/*", "tests/removal/*"),
)
"""What a project has itself, beside its packs, and what belongs to the example or stands on it. `*` is also folders."""

MADE = ("docs/jobs.md", "docs/settings.schema.json")
"""Pages that `make docs` writes from the project's own jobs. They come with Nightshift, and differ in every project."""


_TABLES = re.compile(rb"(<!-- [^\n]*: made by `make docs`[^\n]*-->\n).*?(<!-- end of )", re.DOTALL)


@dataclass(frozen=True)
class Manifest:
    """What of a project is Nightshift's: the version, and the SHA-256 of each file as that version had it."""

    version: str
    files: Mapping[str, str]

    @classmethod
    def read(cls, project: Path) -> "Manifest":
        """Refuses if there is none, or none that can be read."""
        try:
            given = json.loads((project / MANIFEST).read_text())
            return cls(str(given["version"]), {str(name): str(digest) for name, digest in given["files"].items()})
        except FileNotFoundError:
            raise RefusedError(
                f"{project} has no {MANIFEST}, so it is no project that nightshift init has made"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RefusedError(f"{project / MANIFEST} cannot be read: take it back from version control") from None

    def write(self, project: Path) -> None:
        told = {"version": self.version, "files": dict(sorted(self.files.items()))}
        put(project / MANIFEST, (json.dumps(told, indent=2) + "\n").encode())


def version_of(root: Path) -> str:
    """The version of the Nightshift in a folder. Refuses if there is none."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        name, version = project["name"], str(project["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        name = version = ""
    if name != "nightshift":
        raise RefusedError(f"{root} holds no Nightshift: name the folder of a checkout, the one with app.py in it")
    return version


def nightshift_files(root: Path) -> dict[str, str]:
    """The files that are Nightshift's in a checkout or in a project, and their digests.

    In a project these are the digests that the files had unedited: who copies from it must not take edits for
    Nightshift's own. Pages that are made, see `MADE`, have none.
    """
    if (root / MANIFEST).is_file():
        found = {**Manifest.read(root).files, **dict.fromkeys(MADE, "")}
        return {name: digest for name, digest in found.items() if (root / name).is_file()}
    names = _tracked(root)
    if names is None:
        names = list(_walked(root))
    passed_on = (name for name in sorted(names) if is_nightshifts(name) and (root / name).is_file())
    return {name: "" if name in MADE else digest_of(root / name) for name in passed_on}


def is_nightshifts(name: str) -> bool:
    """Whether a project gets this file from Nightshift, and no other."""
    folder, *below = name.split("/")
    if folder == "functions" and len(below) > 1:
        return below[0] == "platform"
    return not any(fnmatch(name, pattern) for pattern in OWN)


def digest_of(file: Path) -> str:
    """The SHA-256 of a file; of a page without the tables in it that `make docs` writes, which are no edits."""
    content = file.read_bytes()
    if file.suffix == ".md":
        content = _TABLES.sub(rb"\1\2", content)
    return hashlib.sha256(content).hexdigest()


def put(file: Path, content: bytes, like: Path | None = None) -> None:
    """Write a file whole or not at all, executable if the file `like` is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(content)
    if like is not None:
        shutil.copymode(like, beside)
    beside.replace(file)


def _tracked(root: Path) -> list[str] | None:
    """The files that git keeps there; None where there is no git, or the folder is no clone."""
    git = shutil.which("git")
    if git is None:
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def ask(*arguments: str) -> str | None:
        command = [git, "-C", str(root), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return None if done.returncode else done.stdout

    top = ask("rev-parse", "--show-toplevel")
    if top is None or Path(top.rstrip("\n")).resolve() != root.resolve():
        return None
    listed = ask("ls-files", "-z")
    return None if listed is None else [name for name in listed.split("\0") if name]


def _walked(root: Path) -> Iterator[str]:
    """Every file that .gitignore does not leave out: what git would keep, in a folder that is no clone."""
    ignored = {".git"}
    if (root / ".gitignore").is_file():
        ignored |= {line.strip().rstrip("/") for line in (root / ".gitignore").read_text().splitlines() if line.strip()}

    def kept(name: str) -> bool:
        return not any(fnmatch(name, pattern) for pattern in ignored)

    for folder, folders, files in os.walk(root):
        folders[:] = filter(kept, folders)
        yield from (str(Path(folder, name).relative_to(root).as_posix()) for name in files if kept(name))
