"""Documentation that cannot rot: generated pages are fresh, and every test, section and file that is named exists."""

import ast
import inspect
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import TyperException

import cli.docs
import infra.docs
import nightshift.steps
from cli.command_line import Group
from cli.commands import application
from cli.job_pages import fact_files, located, shown
from nightshift.declaration import Project, registry
from nightshift.declaration.policy import Kind, default_policy
from nightshift.declaration.schedule import Schedule
from tests import pages

ROOT = Path(__file__).parents[2]
GENERATED = cli.docs.pages() | infra.docs.pages()
WRITTEN = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> None:
    """No shop: the documentation is about the project as it is."""


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_a_generated_page_is_fresh(path: Path) -> None:
    assert path.read_text() == GENERATED[path], f"{path.name} is stale: make docs"


@pytest.mark.skipif(not pages.README, reason="a project has all of these tests but those of the removal")
def test_every_promise_names_tests_that_exist() -> None:
    page = (ROOT / "docs/guarantees.md").read_text().partition("\n## ")[0]
    promises = page.split("\n**G")[1:]
    assert [promise.partition(".")[0] for promise in promises] == [str(number) for number in range(1, 13)]
    existing = {name for file in (ROOT / "tests").rglob("test_*.py") for name in _functions(file)}
    for promise in promises:
        named = re.findall(r"^- `(\w+)`$", promise, re.MULTILINE)
        assert named, f"G{promise.partition('.')[0]} names no test"
        assert len(named) == promise.count("\n- ")
        assert set(named) <= existing, f"no such test: {', '.join(set(named) - existing)}"


def test_the_promises_name_every_guard_that_is_taken_out_with_its_scenario() -> None:
    page = (ROOT / "docs/guarantees.md").read_text()
    told = re.findall(r"^\| ([^|`]+) \| `(\w+)` \| G\d+ \|$", page, re.MULTILINE)
    source = ast.walk(ast.parse((ROOT / "tests/faults/test_guards.py").read_text()))
    guards = [node.args for node in source if isinstance(node, ast.Call) and ast.unparse(node.func) == "Guard"]
    assert told == [(ast.literal_eval(name), ast.unparse(scenario)) for name, _, scenario in guards]


def test_the_architecture_page_names_every_wing_and_all_that_a_project_provides() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    picture = (ROOT / "docs/architecture.svg").read_text()
    library = ROOT / "layers/nightshift/python/nightshift"
    wings = {face.parent.name for face in library.glob("*/__init__.py")}
    assert wings
    for wing in wings:
        assert f"\n| `{wing}` |" in page
        assert f">{wing}</text>" in picture
    methods = [name for name in vars(Project) if not name.startswith("_")]
    assert re.findall(r"^\| `(\w+)\(\)` \|", page, re.MULTILINE) == methods


@pytest.mark.parametrize("job", registry())
def test_every_test_that_shows_a_fact_about_a_job_exists(job: str) -> None:
    for fact, tests in shown(registry()[job]).items():
        assert tests, f"no test shows: {fact}"
        for file, name in (located(registry()[job].job, test) for test in tests):
            assert name in _functions(file), f"{file} has no {name}"


def test_facts_are_told_of_jobs_that_exist() -> None:
    told = {job for file in fact_files() for job in tomllib.loads(file.read_text())}
    assert told <= set(registry())


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), f"{page.name} links to {path}, which does not exist"
        if anchor:
            assert anchor in _anchors(found), f"{page.name} links to {target}, which has no such section"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """But those of the application, which a project replaces by its own, those that only a project has, and those that
    the page itself shows."""
    named = re.findall(
        r"`((?:bench|cli|docs|functions|infra|layers/nightshift|local|tests(?!/own/))/[\w./-]*)`", page.read_text()
    )
    assert [path for path in named if not (ROOT / path).exists() and path not in pages.files(page)] == []


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda path: path.name)
def test_every_example_says_which_file_it_is_so_that_a_test_can_run_it(page: Path) -> None:
    fences = pages.FENCE.findall(page.read_text())
    assert [body for language, body in fences if language not in pages.SHELLS] == list(pages.files(page).values())


@pytest.mark.parametrize("page", [page for page in pages.PAGES if pages.jobs(page)], ids=lambda path: path.name)
def test_the_linter_passes_what_a_page_shows(page: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers/nightshift").symlink_to(ROOT / "layers/nightshift")
    for path, content in pages.files(page).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    for check in (["check", "--quiet"], ["format", "--quiet", "--diff"]):
        command = [sys.executable, "-m", "ruff", *check, "--no-cache", "functions", "layers"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{page.name}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda path: path.name)
def test_every_command_that_a_page_shows_can_be_typed(page: Path) -> None:
    lines = [(line, True) for line in pages.command_lines(page)]
    lines += [(code, False) for code in pages.commands_in_sentences(page)]
    for line, whole in lines:
        for command in _commands(line):
            if refused := _refusal(command, whole=whole):
                pytest.fail(f"{page.name} shows `{line}`: {refused}")


@pytest.mark.parametrize(
    ("line", "whole", "says"),
    [
        ("nightshift redrive RUN", True, "Missing option '--by'"),
        ("nightshift run JOB --override-cap", False, "No such option: --override-cap"),
        ("nightshift rerun", False, "No such command 'rerun'"),
        ("cd jobs && .venv/bin/nightshift plan", True, "Missing argument 'JOB'"),
        ("make sandwich", False, "no target sandwich"),
        ("nightshift redrive RUN", False, None),
        ("make local DATABASE_URL=postgresql://a@b/c YES=1", True, None),
        ("nightshift backup", False, None),
        ("nightshift --install-completion", True, None),
        ("nightshift --install-completions", False, "No such option: --install-completions"),
    ],
)
def test_a_command_that_cannot_be_typed_is_found(line: str, whole: bool, says: str | None) -> None:
    [refused] = [_refusal(command, whole=whole) for command in _commands(line)]
    assert refused == says if says is None else says in str(refused)


def test_the_tables_of_kinds_and_steps_name_each_with_its_policy() -> None:
    page = (ROOT / "docs/adding-a-job.md").read_text()
    missed = {
        "latest": "the latest is caught up",
        "every": "every one, oldest first, up to 31 days",
        "none": "none",
    }
    hourly = Schedule.parse("cron(0 * * * ? *)")
    late = {"None": "never", "2:00:00": "after two hours", "1:00:00": "after one period"}
    told = re.findall(r"^\| `(\w+)` \| [^|]+ \| (\w+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    policies = {kind: default_policy(kind, hourly) for kind in Kind.__args__}  # type: ignore[attr-defined]
    assert {kind: rest for kind, *rest in told} == {
        kind: [policy.overlap, missed[policy.missed], late[str(policy.late_limit)]] for kind, policy in policies.items()
    }

    steps = page.partition("## Kinds of step")[2].partition("\n## ")[0]
    face = ast.walk(ast.parse(Path(nightshift.steps.__file__).read_text()))
    offered = {name.name for node in face if isinstance(node, ast.ImportFrom) for name in node.names} - {"face"}
    found = {name: getattr(nightshift.steps, name) for name in offered if name != "TYPE_CHECKING"}
    kinds = {name for name, one in found.items() if "apply" in _members(one) and not inspect.isabstract(one)}
    assert set(re.findall(r"^\| `(\w+)` \|", steps, re.MULTILINE)) == kinds


def test_every_alarm_sends_its_reader_to_a_section_that_exists() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "infra").rglob("*.py"))
    sent = set(re.findall(r'read_on="([^"]+)"', sources))
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert sent
    assert sent <= {heading.lower().replace(" ", "-") for heading in headings}


def _members(one: type) -> set[str]:
    """The names of a class's attributes and fields."""
    return {*dir(one), *getattr(one, "__dataclass_fields__", ())}


@cache
def _anchors(page: Path) -> frozenset[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def _commands(line: str) -> list[list[str]]:
    """The commands `nightshift` and `make` in a line, each as its words."""
    commands = []
    for part in re.split(r"&&|;|\|", line):
        if re.match(r"\s*(\.venv/bin/)?nightshift\s|\s*make\s", f"{part} "):
            words = shlex.split(part, comments=True)
            if len(words) > 1:
                commands.append([words[0].rpartition("/")[2], *words[1:]])
    return commands


def _refusal(words: list[str], *, whole: bool) -> str | None:
    """Why a command cannot be typed. One that is not whole may lack what the command demands, but nothing else."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        unknown = [word for word in words[1:] if "=" not in word and word not in targets]
        return f"the Makefile has no target {unknown[0]}" if unknown else None
    command: Any = typer.main.get_command(application)
    context, rest = typer.Context(command, info_name="nightshift"), words[1:]
    try:
        while isinstance(command, Group):
            if not rest and not whole:
                return None
            if rest and rest[0] in (name for each in command.params if not each.expose_value for name in each.opts):
                return None  # like --version, it ends the command: nothing may follow that could be wrong
            name, command, rest = command.resolve_command(context, rest)
            if isinstance(command, Group):
                context = typer.Context(command, info_name=name, parent=context)
        command.make_context(name, rest, parent=context)
    except TyperException as error:
        lacking = type(error).__name__ == "MissingParameter"
        return None if lacking and not whole else error.format_message()
    return None


@cache
def _functions(file: Path) -> frozenset[str]:
    """The names of the functions of a file, and of the tests that its classes have from a file of tests/."""
    body = ast.parse(file.read_text()).body
    bases = {
        base.id for node in body if isinstance(node, ast.ClassDef) for base in node.bases if isinstance(base, ast.Name)
    }
    inherited = (
        method.name
        for node in body
        if isinstance(node, ast.ImportFrom) and bases & {name.name for name in node.names}
        if (node.module or "").startswith("tests.")
        for base in ast.parse((ROOT / f"{str(node.module).replace('.', '/')}.py").read_text()).body
        if isinstance(base, ast.ClassDef) and base.name in bases & {name.name for name in node.names}
        for method in base.body
        if isinstance(method, ast.FunctionDef)
    )
    return frozenset([*(node.name for node in body if isinstance(node, ast.FunctionDef)), *inherited])
