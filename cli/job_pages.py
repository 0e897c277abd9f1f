"""The page docs/jobs.md, made from the declarations."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from cli.job_words import policy
from cli.schedule_words import in_words
from nightshift.declaration import Job, Registration, packs, registry

ROOT = Path(__file__).parent.parent
JOBS = ROOT / "docs" / "jobs.md"
TESTS = ROOT / "tests"


def summary(registration: Registration) -> str:
    """The rule in short: the first paragraph of the job's docstring."""
    return " ".join(registration.rule.split("\n\n")[0].split())


def jobs_page() -> str:
    """docs/jobs.md: a table of all jobs, then each job by pack with its rule, schedule, tables, counters and tests."""
    parts = [
        "<!-- Made by `make docs` from the declarations in functions/. -->\n",
        "# The jobs\n",
        *_short_table(),
        "Times are UTC where no time zone is named. Every result has the job's counters, and `batches` and "
        "`quarantined`. Each setting is a parameter of the job: [settings.md](settings.md#jobs) shows how to set it. "
        "Its limits are in code.\n",
    ]
    for pack in packs():
        parts.append(f"## {pack.replace('_', ' ').capitalize()}\n")
        parts.extend(_entry(registration) for registration in registry().values() if registration.pack == pack)
        parts.extend(_figures(pack))
    return "\n".join(parts)


def _short_table() -> Iterator[str]:
    yield from ("| job | what it does | when |", "|---|---|---|")
    for name, found in registry().items():
        yield f"| [{name}](#{name}) | {summary(found)} | {in_words(found.job.timetable)} |"
    yield ""


def _entry(registration: Registration) -> str:
    job = registration.job
    file = f"{registration.module.replace('.', '/')}.py"
    facts = {
        "File": f"[{file}](../{file})",
        "When": f"{in_words(job.timetable)}, `{job.timetable.expression}`",
        "Writes": _listed(table for step in job.steps for table in step.tables) or "nothing but its own record",
        "Counts": _listed(name for name in job.counters if name not in ("batches", "quarantined")),
        "Settings": _listed(
            f"{parameter.name} ({'no limit' if parameter.default is None else f'{parameter.default} {parameter.unit}'}"
            f", at least {parameter.minimum})"
            for parameter in job.all_parameters
        ),
        "Needs": _listed(sorted(job.needs)),
        "Folders": _listed(job.own_folders),
        "When missed": policy(registration.job.effective_policy),
        "If it fails": "pages" if job.critical else "",
    }
    lines = [f"### {job.name}\n", f"{registration.rule}\n"]
    lines += [f"- **{name}:** {fact}" for name, fact in facts.items() if fact]
    return "\n".join([*lines, *_tests(registration), ""])


def _tests(registration: Registration) -> Iterator[str]:
    """What the job's tests show, where somebody has written it down."""
    if facts := shown(registration):
        yield "\n<details><summary>What its tests show</summary>\n"
        yield from ("| fact | shown by |", "|---|---|")
        for fact, tests in facts.items():
            found = map(partial(located, registration.job), tests)
            links = (f"[{name}](../{file.relative_to(ROOT)})" for file, name in found)
            yield f"| {fact.replace('|', '&#124;')} | {'<br>'.join(links)} |"
        yield "\n</details>"


def shown(registration: Registration) -> dict[str, list[str]]:
    """Each fact about a job that tests show, with their names; see `located`."""
    return dict(_facts(registration.pack).get(registration.job.name, {}))


def located(job: Job, test: str) -> tuple[Path, str]:
    """The file and the function of a test. A test in another file than the job's own is written `file::name`."""
    file, _, name = test.rpartition("::")
    own = f"test_{job.name.replace('-', '_')}.py"
    return (TESTS / file if file else next(iter(_tests_of_jobs(own)), TESTS / own)), name


def fact_files(pack: str = "*") -> list[Path]:
    """The files that say what tests show of a pack's jobs: shown/<pack>.toml beside the tests of single jobs."""
    return _tests_of_jobs(f"shown/{pack}.toml")


def _tests_of_jobs(name: str) -> list[Path]:
    """Files among the tests of single jobs, which are in a folder jobs/, or in several."""
    return sorted(TESTS.glob(f"integration/**/jobs/{name}"))


@cache
def _facts(pack: str) -> dict[str, dict[str, list[str]]]:
    """The facts of a pack's jobs, by job."""
    return {job: facts for file in fact_files(pack) for job, facts in tomllib.loads(file.read_text()).items()}


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


def _listed(items: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(items))
