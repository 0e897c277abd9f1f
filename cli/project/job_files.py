"""A new job: its file and its test. What is not known of it is marked, and refused until it is filled in."""

import json
import keyword
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from cli.project.database import age_of, leads, sql_name, table_name
from cli.project.files import ROOT, put
from cli.refusals import RefusedError

if TYPE_CHECKING:
    from nightshift.catalogue import TableFacts

MARK = "FILL IN"
TEMPLATES = Path(__file__).parent / "templates/job"
OFFERED = ("backup", "health-check")
"""Jobs with nothing to fill in: they are the files of docs/examples, as they stand there."""

LINE = 120
"""How long a line may be. A table's name cannot be broken, so the linter is asked to let a longer one pass."""

OF_ROWS = ("retention", "check")
"""Kinds of job that are one step over one table. What the others do, nobody can guess."""

SCHEDULES = {
    "retention": "cron(0 3 * * ? *)",
    "recalculation": "cron(0 4 * * ? *)",
    "rollup": "cron(0 1 * * ? *)",
    "report": "cron(0 2 * * ? *)",
    "notification": "cron(0 9 * * ? *)",
    "check": "cron(0/15 * * * ? *)",
    "lifecycle": "cron(30 0 * * ? *)",
}


@dataclass(frozen=True)
class NewJob:
    """What is known of a job that is not written yet."""

    name: str
    kind: str
    pack: str
    table: str | None = None
    age: str | None = None
    days: int = 90
    least: int = 7
    """Days: fewer are refused, whatever an operator sets."""
    schedule: str | None = None
    measured_in: str | None = None
    where: str | None = None
    """A condition on the rows beside their age, as SQL."""
    whole: bool = False
    """Whether partitions that are entirely old enough are dropped."""
    why: tuple[str, ...] = ()
    """Why the job is there, one sentence each: a paragraph below its rule."""
    tested: bool = True
    """Whether a test of its own is written with it, which needs rows of its own."""

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    @property
    def filled(self) -> bool:
        """Whether nothing is left to fill in."""
        return self.kind in OF_ROWS and self.table is not None and self.age is not None

    def files(self) -> dict[str, str]:
        """The text of each file, by its path in the project."""
        template = self.kind if self.kind in OF_ROWS else "work"
        words = self._words()
        test = {f"tests/own/test_{self.module}.py": _rendered(f"test_{template}.py", words)} if self.tested else {}
        return {f"functions/{self.pack}/{self.module}.py": _rendered(f"{template}.py", words), **test}

    def _more(self) -> Iterator[str]:
        """What the step says beside the age's column."""
        if self.measured_in:
            yield f"measured_in={_literal(self.measured_in)}"
        if self.where:
            yield f"where={_literal(self.where)}"
        if self.whole:
            yield "partitions=Drop()"

    def _words(self) -> dict[str, str]:
        table, age = self.table or "", self.age
        about = f"of {table}" if table else f"of {MARK}"
        by = f", by {age}" if age else ""
        rules = {
            "retention": f"Delete the rows {about} that are older than {days_in_words(self.days)}{by}.",
            "check": f"Count the rows {about} that are older than a day{by}.",
        }
        rule = rules.get(self.kind, f"{MARK}: the rule of {self.name} in plain words, in one sentence.")
        column = _literal(age) if age else f"None,  # {MARK}: the column that tells a row's age"
        return {
            "name": self.name,
            "kind": self.kind,
            "pack": self.pack,
            "module": self.module,
            "schedule": self.schedule or SCHEDULES[self.kind],
            "rule": _paragraphs(rule, " ".join(self.why)),
            "days": str(self.days),
            "least": str(self.least),
            "more": "".join(f"\n            {each}," for each in self._more()),
            "names": "Delete, Drop, Job" if self.whole else "Delete, Job",
            "table": _literal(table) + ("," if table else f',  # {MARK}: the table, like "shop.orders"'),
            "table_in_test": _literal(table or MARK),
            "constant": f"TABLE = {_literal(table)}\n\n" if table else "",
            "tables": "(TABLE,)" if table else "()",
            "planned": "TABLE" if table else _literal(self.name),
            "measured_by": column if not age else f"{column},",
            "old": _literal(f"{sql_name(age) if age else MARK} < now() - interval '90 days'"),
            "late": _literal(f"{sql_name(age) if age else MARK} < now() - interval '1 day'"),
        }


def check(job: NewJob, project: Path = ROOT) -> None:
    """Refuse a job that could not be, or that is there already."""
    from nightshift.declaration.fields import choices, must_be_one_of
    from nightshift.declaration.names import check_job_name
    from nightshift.declaration.policy import Kind
    from nightshift.errors import DeclarationError

    try:
        check_job_name(job.name)
        must_be_one_of(f"job {job.name}: kind", job.kind, choices(Kind))
    except DeclarationError as error:
        raise RefusedError(str(error)) from None
    if keyword.iskeyword(job.module):
        raise RefusedError(f"job name {job.name!r} is a word of Python, and no file can have it: add another word")
    check_free(job.pack, job.files(), project)


def check_free(pack: str, files: Iterable[str], project: Path = ROOT) -> None:
    """Refuse a pack that cannot be, and a job or a file that is there already, in whatever pack."""
    from nightshift.declaration.discovery import PLATFORM

    check_pack(pack)
    taken = [
        path
        for name in files
        for path in (*project.glob(f"functions/*/{Path(name).name}"), project / name)
        if path.exists() and path.parent.name != PLATFORM
    ]
    if taken:
        raise RefusedError(f"{taken[0].relative_to(project)} is there already, and nothing is overwritten")


def check_pack(pack: str) -> None:
    """Refuse what cannot be a pack's name."""
    from nightshift.declaration.discovery import PACK_NAME, PLATFORM

    if not PACK_NAME.fullmatch(pack) or pack == PLATFORM or keyword.iskeyword(pack):
        raise RefusedError(f"{pack!r} cannot be a pack's name: write lower-case letters, digits and single underscores")


def own_pack(given: str | None, project: Path = ROOT) -> str:
    """The pack of a new job: the one that is named, or the only one that there is."""
    if given is not None:
        return given
    found = sorted(
        path.parent.name
        for path in project.glob("functions/*/__init__.py")
        if path.parent.name != "platform" and not path.parent.name.startswith(("_", "."))
    )
    if len(found) != 1:
        raise RefusedError(f"--pack is needed: there {'is none yet' if not found else 'are ' + ', '.join(found)}")
    return found[0]


def measured(job: NewJob, facts: "TableFacts") -> tuple[NewJob, str]:
    """The job with its table's name as SQL writes it, and with the column that tells the age; and a sentence about it.

    Refuses a column that is not there.
    """
    table = table_name(facts)
    if job.age is not None and job.age not in facts.columns:
        raise RefusedError(f"{table} has no column {job.age!r}: it has {', '.join(facts.columns)}")
    age = job.age or age_of(facts)
    if age is None:
        return replace(job, table=table), f"{table} has no column with a time: it has {', '.join(facts.columns)}"
    index = "which an index begins with" if leads(facts, age) else "with which no index begins"
    return replace(job, table=table, age=age), f"{table}: age by {age}, {index}"


def offered(name: str, pack: str) -> dict[str, str]:
    """The text of a job's file that is offered, by its path in the project."""
    module = f"{name.replace('-', '_')}.py"
    return {f"functions/{pack}/{module}": (ROOT / "docs/examples" / module).read_text()}


def write(pack: str, files: Mapping[str, str], project: Path = ROOT) -> list[Path]:
    """Write a job's files, the pack's folder if it is new. Returns their paths."""
    face = project / "functions" / pack / "__init__.py"
    if not face.exists():
        put(face, b"")
    written = []
    for name, content in files.items():
        put(project / name, content.encode())
        written.append(project / name)
    return written


def _rendered(name: str, words: dict[str, str]) -> str:
    text = Template((TEMPLATES / f"{name}.template").read_text()).substitute(words)
    return "".join(
        f"{line}  # noqa: E501\n" if len(line) > LINE and " " in line.strip() else f"{line}\n"
        for line in text.splitlines()
    )


def days_in_words(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"


def _paragraphs(rule: str, why: str) -> str:
    """A docstring's text: the rule, and below it why, if that is known. Its quotes stand behind one paragraph only."""
    told = (_wrapped(each).replace("\\", "\\\\").replace('"""', r"\"\"\"") for each in (rule, why) if each)
    first, *more = told
    return first if not more else f"{first}\n\n{more[0]}\n"


def _wrapped(paragraph: str) -> str:
    return "\n".join(textwrap.wrap(paragraph, LINE - 3, break_long_words=False, break_on_hyphens=False))


def _literal(value: str) -> str:
    """Text as Python writes it, in the quotes that the formatter takes: those within which it needs fewer escapes."""
    if value.count('"') <= value.count("'"):
        return json.dumps(value, ensure_ascii=False)
    return "'" + json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"
