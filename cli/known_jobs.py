"""The jobs that the code in this folder declares. A command checks a name here before it asks or invokes anything.

Functions import the library themselves: a help page or a completion must not wait for it.
"""

from typing import TYPE_CHECKING

import typer

from cli.refusals import RefusedError

if TYPE_CHECKING:
    from nightshift.declaration import DeployedJob, Registration
    from nightshift.declaration.discovery import Discovered

SIMILARITY = 75
"""From 0 to 100: how similar a word must be to a job's name to count as a misspelling of it."""


def declared() -> "dict[str, Registration]":
    """Every job by name. Refuses if a declaration cannot work."""
    from nightshift.declaration import registry
    from nightshift.errors import DeclarationError

    try:
        return registry()
    except DeclarationError as error:
        raise RefusedError(str(error)) from None


def names() -> list[str]:
    """The names that a shell completes; none if a declaration cannot work."""
    try:
        return list(declared())
    except RefusedError:
        return []


def known(name: str) -> "Registration":
    """The job of that name. Refuses an unknown one, and names the most similar.

    Files of other jobs that cannot be used are named on standard error: they keep nobody from this one.
    """
    found = _found()
    if name in found.broken:
        raise RefusedError(str(found.broken[name]))
    jobs = found.jobs
    if name in jobs:
        for error in found.broken.values():
            typer.secho(f"left out: {error}", fg=typer.colors.YELLOW, err=True)
        return jobs[name]
    from rapidfuzz import process, utils

    nearest = process.extractOne(name, list(jobs), processor=utils.default_process, score_cutoff=SIMILARITY)
    raise RefusedError(
        f"no job is named {name!r}: " + (f"did you mean {nearest[0]}?" if nearest else "see nightshift jobs --declared")
    )


def chosen(name: str | None) -> "list[Registration]":
    """Every job, or one."""
    return list(declared().values()) if name is None else [known(name)]


def apart(name: str | None) -> "tuple[list[Registration], dict[str, str]]":
    """Every job, or one; and by name why others cannot be used. Refuses an unknown one."""
    found = _found()
    if name is None:
        return list(found.jobs.values()), {each: str(error) for each, error in found.broken.items()}
    return [found.jobs.get(name) or known(name)], {}


def key(name: str | None) -> dict[str, str]:
    """The key of a question for its job; none if it is about all jobs."""
    return {} if name is None else {"job": known(name).job.name}


def as_declared(name: str | None) -> "dict[str, DeployedJob]":
    """Every job, or one, as it would be deployed without settings."""
    from nightshift.declaration import Deployment

    jobs = declared()  # a deployment is read as a whole
    names = set(jobs) if name is None else {known(name).job.name}
    return {each: job for each, job in Deployment().jobs().items() if each in names}


def _found() -> "Discovered":
    """Every job, and the files that cannot be used. Refuses folders that cannot be packs."""
    from nightshift.declaration.discovery import discovered
    from nightshift.errors import DeclarationError

    try:
        return discovered()
    except DeclarationError as error:
        raise RefusedError(str(error)) from None
