"""Every job of the packs, found by walking functions/<pack>/: one file, one job. A folder in a pack is never a job."""

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from nightshift.declaration.job import Job
from nightshift.declaration.names import construct_of
from nightshift.errors import DeclarationError

PACKS = ("tracking", "identity", "productivity", "community", "administration")


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


@cache
def registry() -> dict[str, Registration]:
    """All jobs by name, in the order of packs and names.

    Raises:
        DeclarationError: a declaration that cannot work, a duplicate name, a folder that is no pack, a file whose name
            is not its job's, or one without `job` or `handler`.
    """
    functions = importlib.import_module("functions")
    found: dict[str, Registration] = {}
    for folder in pkgutil.iter_modules(functions.__path__):
        if folder.name not in (*PACKS, "platform"):
            raise DeclarationError(f"functions/{folder.name} is no pack; the packs are {', '.join(PACKS)}")
    for pack in PACKS:
        package = importlib.import_module(f"functions.{pack}")
        for file in sorted(pkgutil.iter_modules(package.__path__), key=lambda file: file.name):
            if file.ispkg or file.name.startswith("_"):
                continue
            register(importlib.import_module(f"functions.{pack}.{file.name}"), pack, found)
    return found


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
