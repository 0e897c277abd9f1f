"""Projects that a test makes, and what is done in them: commands, each in a process of its own."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.project.files import ROOT, digest_of
from local.node import search_path

LINKS = (".venv", "node_modules", ".build")
"""What takes long to make, and is the same in every project."""

PACK = "housekeeping"
OWN = (f"functions/{PACK}/", "layers/application/", "tests/own/")
"""Folders of a project's own."""


def link(project: Path) -> None:
    """Let a new project have what takes long to make."""
    (ROOT / ".build").mkdir(exist_ok=True)
    for name in LINKS:
        (project / name).symlink_to((ROOT / name).resolve())


def run(project: Path, *command: str) -> str:
    """Run a command in a project, which must succeed, and return what it prints."""
    done = subprocess.run(
        command, cwd=project, env=environment(project), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def environment(project: Path) -> Mapping[str, str]:
    """As `make` sets it, and nothing of the tests' own workers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "AWS_", "CDK_"))}
    layers = (project / "layers" / layer / "python" for layer in ("nightshift", "application"))
    return {**kept, "PATH": search_path(os.environ), "PYTHONPATH": os.pathsep.join(map(str, layers))}


def nightshift(project: Path, *arguments: str) -> str:
    """Call the project's own command, from another folder."""
    return run(project.parent, str(project / "cli/nightshift"), *arguments)


def contents(project: Path) -> dict[str, str]:
    """The digest of every file that is not compiled or linked."""
    paths = (path for folder in project.iterdir() if folder.name not in (*LINKS, ".local") for path in _files(folder))
    return {path.relative_to(project).as_posix(): digest_of(path) for path in paths}


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif "cache" not in path.name:
        for below in path.iterdir():
            yield from _files(below)
