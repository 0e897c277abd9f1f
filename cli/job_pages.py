"""The tables of jobs in README.md and docs/jobs.md, made from the declarations."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from cli.schedule_words import in_words
from nightshift.declaration import Job, Registration, packs, registry

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
JOBS = ROOT / "docs" / "jobs.md"
TESTS = ROOT / "tests"
TESTS_OF_JOBS = TESTS / "integration" / "jobs"
SHOWN = TESTS_OF_JOBS / "shown"

BEGIN, END = "<!-- jobs: made by `make docs` -->", "<!-- end of jobs -->"


def summary(registration: Registration) -> str:
    """The rule in short: the first paragraph of the job's docstring."""
    return " ".join(registration.rule.split("\n\n")[0].split())


def readme(current: str) -> str:
    """README.md with a new table of jobs."""
    before, _, rest = current.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_short_table()}\n{END}{after}"


def jobs_page() -> str:
    """docs/jobs.md: every job by pack, with its rule, schedule, tables, counters, settings and tests."""
    parts = [
        "<!-- Made by `make docs` from the declarations in functions/. -->\n",
        "# The jobs\n",
        "Times are UTC. Every result has the job's counters, and `batches` and `quarantined`. Each setting is a "
        "parameter of the job: [settings.md](settings.md#jobs) shows how to set it. Its limits are in code.\n",
    ]
    for pack in packs():
        parts.append(f"## {pack.replace('_', ' ').capitalize()}\n")
        parts.extend(_entry(registration) for registration in registry().values() if registration.pack == pack)
        parts.extend(_figures(pack))
    return "\n".join(parts)


def _short_table() -> str:
    rows = [
        f"| [{name}]({found.module.replace('.', '/')}.py) | {summary(found)} | {in_words(found.job.timetable)} |"
        for name, found in registry().items()
    ]
    return "\n".join(["| job | what it does | when |", "|---|---|---|", *rows])


def _entry(registration: Registration) -> str:
    job = registration.job
    facts = {
        "When": f"{in_words(job.timetable)}, `{job.timetable}`",
        "Writes": _listed(table for step in job.steps for table in step.tables) or "nothing but its own record",
        "Counts": _listed(name for name in job.counters if name not in ("batches", "quarantined")),
        "Settings": _listed(
            f"{parameter.name} ({'no limit' if parameter.default is None else f'{parameter.default} {parameter.unit}'}"
            f", at least {parameter.minimum})"
            for parameter in job.all_parameters
        ),
        "Needs": _listed(sorted(job.needs)),
        "When missed": _policy(registration),
        "If it fails": "pages" if job.critical else "",
    }
    lines = [f"### {job.name}\n", f"{registration.rule}\n"]
    lines += [f"- **{name}:** {fact}" for name, fact in facts.items() if fact]
    lines += ["\n<details><summary>What its tests show</summary>\n", "| fact | shown by |", "|---|---|"]
    for fact, tests in shown(registration).items():
        links = (f"[{name}](../{file.relative_to(ROOT)})" for file, name in map(partial(located, job), tests))
        lines.append(f"| {fact.replace('|', '&#124;')} | {'<br>'.join(links)} |")
    return "\n".join([*lines, "\n</details>\n"])


def shown(registration: Registration) -> dict[str, list[str]]:
    """Each fact about a job that tests show, with their names; see `located`."""
    return dict(_facts(registration.pack).get(registration.job.name, {}))


def located(job: Job, test: str) -> tuple[Path, str]:
    """The file and the function of a test. A test in another file than the job's own is written `file::name`."""
    file, _, name = test.rpartition("::")
    return (TESTS / file if file else TESTS_OF_JOBS / f"test_{job.name.replace('-', '_')}.py"), name


@cache
def _facts(pack: str) -> dict[str, dict[str, list[str]]]:
    """The facts of a pack's jobs, by job."""
    return tomllib.loads((SHOWN / f"{pack}.toml").read_text())


def _figures(pack: str) -> list[str]:
    """What the pack stores in the figures of its roll-ups and reports, where it has a list of them."""
    found = walk_packages(import_module(f"functions.{pack}").__path__, f"functions.{pack}.")
    module = next((import_module(one.name) for one in found if one.name.endswith((".figures", "._figures"))), None)
    if module is None:
        return []
    rows = [f"| {path} | {figure.unit} | {figure.meaning} |" for path, figure in _leaves(module.FIGURES)]
    return [f"### Figures\n\n{module.__doc__}", *["| figure | unit | meaning |", "|---|---|---|", *rows], ""]


def _leaves(figures: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure, at any depth, with the path of keys that leads to it."""
    for key, found in figures.items():
        if isinstance(found, Mapping):
            yield from _leaves(found, f"{path}{key}.")
        else:
            yield f"`{path}{key}`", found


def _policy(registration: Registration) -> str:
    policy = registration.job.effective_policy
    missed = {"latest": "the latest is caught up", "every": "every one is caught up", "none": "it is not caught up"}
    limit = f"; more than {policy.late_limit} late it is missed" if policy.late_limit else ""
    overlap = "an overlapping one is skipped" if policy.overlap == "skip" else "an overlapping one waits"
    return f"{missed[policy.missed]}{limit}; {overlap}"


def _listed(items: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(items))
