"""A new project: Nightshift's files copied, one pack with one job, and a place for all that is the project's own."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from string import Template

from cli.project import job_files
from cli.project.database import Candidate
from cli.project.files import MADE, MANIFEST, ROOT, Manifest, nightshift_files, put, version_of
from cli.refusals import RefusedError

TEMPLATES = Path(__file__).parent / "templates/project"
SUFFIX = ".template"
"""Of every file there, so that no tool takes it for a part of this project. PACK in a path is the pack's name."""


def make_project(target: Path, pack: str, schema: str | None = None, jobs: Iterable[str] = ()) -> None:
    """Make a project in a folder that is empty or not there yet: whole, or not at all. See `check_folder`.

    schema: the SQL that makes the application's tables. jobs: those of `job_files.OFFERED` that are wanted.
    """
    files = nightshift_files(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place and moved there whole, so that nothing half done is left behind.
    with tempfile.TemporaryDirectory(prefix=".nightshift-", dir=target.parent, ignore_cleanup_errors=True) as scratch:
        made = Path(scratch, "project")
        for name in files:
            put(made / name, (ROOT / name).read_bytes(), like=ROOT / name)
        for template in sorted(TEMPLATES.rglob(f"*{SUFFIX}")):
            name = str(template.relative_to(TEMPLATES)).removesuffix(SUFFIX).replace("PACK", pack)
            put(made / name, Template(template.read_text()).substitute(pack=pack).encode())
        for job in jobs:
            job_files.write(pack, job_files.offered(job, pack), made)
        if schema is not None:
            put(made / "tests/own/schema.sql", schema.encode())
        Manifest(version_of(ROOT), {name: digest for name, digest in files.items() if name not in MADE}).write(made)
        write_pages(made)
        made.chmod(0o755)
        made.replace(target)


def write_pages(project: Path) -> None:
    """Write the pages that tell of the project's own jobs, as `make docs` does."""
    project = project.absolute()  # what is relative would be read from within the project
    layers = (project / "layers" / layer / "python" for layer in ("nightshift", "application"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (project, *layers)))}
    for module in ("cli.docs", "infra.docs"):
        command = [sys.executable, "-B", "-P", "-m", module]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RefusedError(f"the pages of the project could not be written by {module}: {last}")


def next_commands(target: Path, found: Sequence[Candidate], jobs: Collection[str]) -> list[str]:
    """What to type next, ready to be pasted. `found`: tables for a first job. `jobs`: offered ones that are there."""
    from nightshift.declaration.names import LONGEST_JOB_NAME

    command, name, about = ".venv/bin/nightshift", "old-rows", []
    # Of what people have written nothing should go first. And on a table whose rows no index finds, the first thing
    # that a new project is told would be a failed test.
    candidate = min(found, key=lambda each: (not each.proposed, not each.indexed), default=None)
    if candidate is not None and candidate.age is not None:
        if subject := re.sub(r"[^a-z0-9]+", "-", candidate.table.lower()).strip("-"):
            name = f"old-{subject}"[:LONGEST_JOB_NAME].strip("-")
        about = ["--table", candidate.table, "--measured-by", candidate.age]
    return [
        shlex.join(["cd", str(target.resolve())]),
        "make install",
        *([shlex.join([command, "suggest", "--database-url", "URL"])] if found else []),
        shlex.join([command, "new", "job", name, "--kind", "retention", *about]),
        shlex.join([command, "plan", name, "--database-url", "URL"]),
        *(shlex.join([command, "new", job]) for job in job_files.OFFERED if job not in jobs),
    ]


def check_folder(target: Path) -> None:
    """Refuse a folder with something in it, one inside this checkout, and one that cannot be made."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise RefusedError(f"{target} is a file: name a folder that is not there yet")
    if target.is_dir() and any(target.iterdir()):
        remedy = "inside it, nightshift upgrade --from DIR" if (target / MANIFEST).exists() else "name another folder"
        raise RefusedError(f"{target} is not empty, and nothing in it is overwritten: {remedy}")
    if target.resolve().is_relative_to(ROOT.resolve()):
        raise RefusedError(f"{target} is inside {ROOT}: name a folder beside it")
    if os.pathsep in str(target):
        raise RefusedError(f"{target} has a {os.pathsep} in its name, by which Python's search path is divided")
    above = next(folder for folder in target.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise RefusedError(f"{target} cannot be made: {above} is not a folder that you may write into")
