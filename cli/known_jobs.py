"""The jobs that this folder's code declares. A name is checked against them before anything is asked or invoked.

The library is imported where it is used: its import takes longer than a help page or a completion may.
"""

from typing import TYPE_CHECKING

from cli.refusals import RefusedError

if TYPE_CHECKING:
    from nightshift.deployment import DeployedJob
    from nightshift.registry import Registration

SIMILARITY = 60
"""From 0 to 100: how like a job's name a word must be to be taken for a misspelling of it."""


def declared() -> "dict[str, Registration]":
    """Every job by name, or a refusal that says which declaration cannot work."""
    from nightshift.errors import DeclarationError
    from nightshift.registry import registry

    try:
        return registry()
    except DeclarationError as error:
        raise RefusedError(str(error)) from None


def names() -> list[str]:
    """For a shell that completes a job's name: nothing where a declaration cannot work."""
    try:
        return list(declared())
    except RefusedError:
        return []


def known(name: str) -> "Registration":
    """The job of that name, or a refusal that names the nearest one."""
    jobs = declared()
    if name in jobs:
        return jobs[name]
    from rapidfuzz import process, utils

    nearest = process.extractOne(name, list(jobs), processor=utils.default_process, score_cutoff=SIMILARITY)
    raise RefusedError(
        f"no job is named {name!r}: " + (f"did you mean {nearest[0]}?" if nearest else "see nightshift jobs --declared")
    )


def key(name: str | None) -> dict[str, str]:
    """The key `job` of a question about one job; none for a question about all."""
    return {} if name is None else {"job": known(name).job.name}


def as_declared(name: str | None) -> "dict[str, DeployedJob]":
    """Every job, or one, as it would be deployed without any setting."""
    from nightshift.deployment import Deployment

    names = set(declared()) if name is None else {known(name).job.name}
    return {each: job for each, job in Deployment().jobs().items() if each in names}
