"""Every pack and job, found by walking functions/: one folder, one pack; one file in it, one job."""

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import NamedTuple

from nightshift.declaration.job import Job
from nightshift.declaration.names import construct_of
from nightshift.environment import DEFAULT_NAME
from nightshift.errors import DeclarationError, printable

PLATFORM = "platform"
"""The folder of the platform's own functions, which is no pack."""

PACK_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True)
class Registration:
    """A job and where it was declared."""

    job: Job
    pack: str
    module: str
    rule: str
    """The job's rule in plain words: its module's docstring."""

    @property
    def handler(self) -> str:
        """What the Lambda function calls."""
        return f"{self.module}.handler"


class Discovered(NamedTuple):
    """What is found under functions/."""

    jobs: dict[str, Registration]
    """By name."""
    broken: dict[str, DeclarationError]
    """Why files cannot be used, by the names that their jobs would have."""


def stack_name(pack: str, deployment: str = DEFAULT_NAME) -> str:
    """The name of a pack's stack on AWS: `my_jobs` becomes `Nightshift-MyJobs`."""
    return f"{deployment.capitalize()}-{''.join(part.capitalize() for part in pack.split('_'))}"


@cache
def packs() -> tuple[str, ...]:
    """The packs in alphabetical order: every folder of functions/ but the platform's own.

    Folders whose names begin with _ or . are none, and folders without any Python file are not there: git leaves such
    behind.

    Raises:
        DeclarationError: a name that no pack can have, two that would be one stack, a folder that Python does not see,
            or a file that stands in no pack.
    """
    stacks = {stack_name(PLATFORM).lower(): PLATFORM}
    found = sorted(set(_folders()))
    for pack in found:
        if not PACK_NAME.fullmatch(pack):
            raise DeclarationError(
                f"functions/{pack} cannot be a pack's name: write lower-case letters, digits and single underscores "
                "between them, like my_jobs; or start it with _ if it is no pack"
            )
        # Whatever the case: two that differ in nothing else would write one file on many machines.
        other = stacks.setdefault(stack_name(pack).lower(), pack)
        if other != pack:
            raise DeclarationError(
                f"functions/{other} and functions/{pack} would both be the stack {stack_name(pack)}: rename the latter"
            )
    return tuple(found)


@cache
def registry() -> dict[str, Registration]:
    """All jobs by name, in the order of packs and names. Only files of a pack's own folder are jobs.

    Raises:
        DeclarationError: a declaration that cannot work, a duplicate name, a folder that cannot be a pack, see `packs`,
            or has no job, a file that cannot be imported, whose name is not its job's, or without `job` or `handler`.
    """
    found = discovered()
    for error in found.broken.values():
        raise error
    return found.jobs


def discovered() -> Discovered:
    """All jobs by name, and those whose files cannot be used: one keeps nobody from the others.

    Raises:
        DeclarationError: a folder that cannot be a pack, see `packs`, or has no job.
    """
    found: dict[str, Registration] = {}
    broken: dict[str, DeclarationError] = {}
    for pack in packs():
        package = importlib.import_module(f"functions.{pack}")
        files = sorted(file.name for file in pkgutil.iter_modules(package.__path__) if not file.ispkg)
        jobs = [name for name in files if not name.startswith("_")]
        if not jobs:
            raise DeclarationError(
                f"functions/{pack} has no job: declare one in functions/{pack}/<job_name>.py (docs/adding-a-job.md), "
                "remove the folder, or start its name with _ if it is no pack"
            )
        for name in jobs:
            try:
                register(_imported(f"functions.{pack}.{name}"), pack, found)
            except DeclarationError as error:
                broken[name.replace("_", "-")] = error
    return Discovered(found, broken)


def _imported(module: str) -> ModuleType:
    """A job's file.

    Raises:
        DeclarationError: its code fails, or it declares what cannot work. The message names the file.
    """
    try:
        return importlib.import_module(module)
    except DeclarationError as error:
        raise DeclarationError(f"{module}: {error}") from error
    except Exception as error:  # the file is the project's own code
        raise DeclarationError(
            f"{module} cannot be imported: {type(error).__name__}: {printable(str(error))}{_line_of(error, module)}"
        ) from error


def _line_of(error: Exception, module: str) -> str:
    """In which line of a job's file its code failed; nothing where the error says it, or no line has run."""
    file = f"{module.replace('.', '/')}.py"
    lines = [number for frame, number in walk_tb(error.__traceback__) if frame.f_code.co_filename.endswith(file)]
    return f" ({Path(file).name}, line {lines[-1]})" if lines and not isinstance(error, SyntaxError) else ""


def _folders() -> Iterator[str]:
    """The names of the folders that are packs, whether or not they can be."""
    functions = importlib.import_module("functions")
    for entry in chain.from_iterable(Path(folder).iterdir() for folder in functions.__path__):
        if entry.name.startswith(("_", ".")) or entry.name == PLATFORM:
            continue
        if entry.suffix == ".py":
            raise DeclarationError(
                f"functions/{entry.name} stands in no pack: move it to functions/<pack>/{entry.name}, "
                "or start the file's name with _"
            )
        if (entry / "__init__.py").is_file():
            yield entry.name
        elif any(entry.rglob("*.py")):
            raise DeclarationError(
                f"functions/{entry.name} has no __init__.py, so Python does not see its jobs: add an empty one, "
                "or start the folder's name with _ if it is no pack"
            )


def register(module: ModuleType, pack: str, found: dict[str, Registration]) -> None:
    """Add a module's job to those found.

    Raises:
        DeclarationError: see `registry`.
    """
    where = module.__name__
    job = getattr(module, "job", None)
    if not isinstance(job, Job):
        raise DeclarationError(f"{where} declares no job: write `job = Job(...)`, or start the file's name with _")
    _check_handler(module, job)
    if where.rpartition(".")[2] != job.name.replace("-", "_"):
        raise DeclarationError(f"{where} declares the job {job.name!r}: give file and job the same name")
    if job.name in found:
        raise DeclarationError(f"{where} and {found[job.name].module} both declare a job named {job.name!r}")
    _check_construct(where, job, [one.job for one in found.values() if one.pack == pack])
    if not (module.__doc__ or "").strip():
        raise DeclarationError(f"{where} has no docstring: say the job's rule there in plain words")
    assert job.timetable  # read here, so that a schedule that cannot work stops the synth and not the night
    found[job.name] = Registration(job, pack, where, str(module.__doc__).strip())


def _check_handler(module: ModuleType, job: Job) -> None:
    where, remedy = module.__name__, "write `handler = lambda_handler(job)`"
    handler = getattr(module, "handler", None)
    if not callable(handler):
        raise DeclarationError(f"{where} has no handler: {remedy}")
    owner = getattr(handler, "job", job)
    if owner is not job:
        other = f"another job {owner.name!r}" if owner.name == job.name else f"the job {owner.name!r}"
        raise DeclarationError(f"{where}: the handler runs {other}: {remedy}")


def _check_construct(where: str, job: Job, others: Iterable[Job]) -> None:
    """A stack has no hyphens in its names, so `top-10` and `top10` would be the same there."""
    same = construct_of(job.name)
    for other in others:
        if construct_of(other.name) == same:
            names = f"{other.name!r} and {job.name!r}"
            raise DeclarationError(f"{where}: the jobs {names} would both be {same} in the stack; name them apart")
