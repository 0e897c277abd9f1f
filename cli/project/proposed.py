"""The files of jobs that were proposed: one job a table, at nights one after the other, and nothing overwritten."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from cli.project import job_files
from cli.project.database import sql_name
from cli.project.files import ROOT
from cli.project.job_files import NewJob
from cli.refusals import RefusedError

SCHEMA, INDEXES = "tests/own/schema.sql", "tests/own/indexes.sql"

ENDING = "-cleanup"

FIRST_HOUR, MINUTES_APART = 2, 10
"""Of UTC: the first job of a night, and how long after it the next one begins."""

INDEXES_HEAD = """\
-- Indexes that jobs need, and that the application's tables did not have when the jobs were proposed. The tests make
-- them after schema.sql. Your database needs them, too: nightshift check gives the SQL for it while it is in use.
"""


def pack_of(folder: Path) -> str:
    """The pack that a folder is: functions/housekeeping. Refuses any other."""
    given = folder if folder.is_absolute() else ROOT / folder
    if given.parent.resolve() != (ROOT / "functions").resolve():
        raise RefusedError(f"--write {folder} is no pack: write it like functions/housekeeping")
    job_files.check_pack(given.name)
    return given.name


def write(pack: str, proposals: Iterable[Mapping[str, Any]], project: Path = ROOT) -> tuple[list[Path], list[str]]:
    """Write a job for each proposal. Returns the files, and why some proposals have none."""
    written, left, needed = [], [], []
    minutes = _free_minutes()
    names: set[str] = set()
    for each in proposals:
        job = job_of(each, pack, f"cron({_clock(next(minutes))} * * ? *)")
        if job.name in names:  # names that are alike as far as they fit
            job = replace(job, name=_named(job.name.removesuffix(ENDING), f"-{len(names)}{ENDING}"))
        names.add(job.name)
        try:
            job_files.check(job, project)
        except RefusedError as refusal:
            left.append(f"{each['table']}: {refusal}.")
            continue
        written += job_files.write(pack, job.files(), project)
        needed += list(_indexes(each))
    if needed:
        written.append(_append(project / INDEXES, INDEXES_HEAD, needed))
    return written, left


def job_of(proposal: Mapping[str, Any], pack: str, schedule: str) -> NewJob:
    """The job that a proposal describes."""
    table = ".".join(sql_name(part) for part in (proposal["schema"], proposal["name"]) if part != "public")
    table = table or sql_name(proposal["name"])
    return NewJob(
        name_of(proposal),
        "retention",
        pack,
        table,
        proposal["column"],
        days=proposal["older_than_days"],
        least=1,
        schedule=schedule,
        measured_in=proposal["measured_in"],
        where=_condition(proposal.get("where")),
        whole=goes_whole(proposal),
        why=tuple(_why(proposal)),
        tested=False,
    )


def name_of(proposal: Mapping[str, Any]) -> str:
    """`shop.WebhookDeliveries` becomes shop-webhook-deliveries-cleanup, as far as it fits."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", proposal["table"]).lower()
    words = re.sub(r"[^a-z0-9]+", "-", spaced).strip("-") or "table"
    words = words if words[0].isalpha() else f"table-{words}"
    return _named(words, ENDING)


def goes_whole(proposal: Mapping[str, Any]) -> bool:
    """Whether old partitions are to be dropped. A console of an earlier version does not say so."""
    return bool(proposal["partitions"]) and proposal.get("piecewise", "unknown") is None


def _condition(where: str | None) -> str | None:
    """A condition as a step takes it, where a colon begins the name of a value."""
    return where and where.replace(":", r"\:")


def _named(words: str, ending: str) -> str:
    """As much of the words as fits before the ending."""
    from nightshift.declaration.names import LONGEST_JOB_NAME

    return words[: LONGEST_JOB_NAME - len(ending)].strip("-") + ending


def has_no_tables(project: Path = ROOT) -> bool:
    """Whether schema.sql is still to be filled in: all its lines are comments."""
    file = project / SCHEMA
    return file.is_file() and not any(
        line.strip() and not line.lstrip().startswith("--") for line in file.read_text().splitlines()
    )


def add_schema(script: str, project: Path = ROOT) -> Path:
    """Add the application's tables to a schema.sql that has none."""
    file = project / SCHEMA
    with file.open("a") as schema:
        schema.write(script)
    return file


def _why(proposal: Mapping[str, Any]) -> Iterator[str]:
    moment = {
        "expiry": "when a row expires",
        "finished": "when the work was finished",
        "used": "when the row was last used",
        "created": "when the row was written",
    }[proposal["holds"]]
    because = proposal["because"]
    yield f"Proposed by nightshift suggest: {proposal['column']} tells {moment}, and {because}."
    if proposal["rows"] is not None and proposal["share"] is not None:
        yield f"About {proposal['rows']:,} rows were old enough then, {proposal['share']:.0%} of the table."
    if proposal.get("where"):
        yield f"Where {proposal['column']} holds no time, such as 0 or 1970, it stands for never, and the row stays."
    if goes_whole(proposal):
        yield "Partitions that are entirely older are dropped, for which their owner must run it."
    along = [each["table"] for each in proposal["cascades"]]
    if along:
        yield f"What refers to them goes or changes along: {', '.join(along)}."
    yield "Set retention_days to what you have promised."


def _indexes(proposal: Mapping[str, Any]) -> Iterator[str]:
    """The statements that make the missing indexes in an empty database: there they need not be concurrent."""
    for each in (proposal, *proposal["cascades"]):
        if each.get("missing"):
            yield each["missing"]["sql"].replace(" concurrently", "") + ";"


def _append(file: Path, head: str, statements: Iterable[str]) -> Path:
    there = file.read_text() if file.exists() else head
    new = [each for each in dict.fromkeys(statements) if each not in there]
    with file.open("a") as opened:
        opened.write((head if not file.stat().st_size else "") + "".join(f"{each}\n" for each in new))
    return file


def _free_minutes() -> Iterator[int]:
    """Minutes of the day at which no declared job begins, some apart from one another."""
    from nightshift.declaration import registry

    taken = set()
    for each in registry().values():
        if found := re.fullmatch(r"cron\((\d+) (\d+) .*\)", each.job.schedule):
            taken.add(int(found[2]) * 60 + int(found[1]))
    for minute in count(FIRST_HOUR * 60, MINUTES_APART):
        if minute % (24 * 60) not in taken or minute > FIRST_HOUR * 60 + 24 * 60:
            yield minute % (24 * 60)


def _clock(minute: int) -> str:
    return f"{minute % 60} {minute // 60}"
