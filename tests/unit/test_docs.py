"""Documentation that cannot rot: generated pages are fresh, and every test, section and file that is named exists."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

import cli.docs
import infra.docs
from cli.job_pages import fact_files, located, shown
from nightshift.declaration import Project, registry

ROOT = Path(__file__).parents[2]
GENERATED = cli.docs.pages() | infra.docs.pages()
WRITTEN = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> None:
    """No shop: the documentation is about the project as it is."""


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_a_generated_page_is_fresh(path: Path) -> None:
    assert path.read_text() == GENERATED[path], f"{path.name} is stale: make docs"


def test_every_promise_names_tests_that_exist() -> None:
    page = (ROOT / "docs/guarantees.md").read_text().partition("\n## ")[0]
    promises = page.split("\n**G")[1:]
    assert len(promises) == 10
    existing = {name for file in (ROOT / "tests").rglob("test_*.py") for name in _functions(file)}
    for promise in promises:
        named = re.findall(r"^- `(\w+)`$", promise, re.MULTILINE)
        assert named, f"G{promise.partition('.')[0]} names no test"
        assert len(named) == promise.count("\n- ")
        assert set(named) <= existing, f"no such test: {', '.join(set(named) - existing)}"


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
    for target in re.findall(r"\]\(([^)#][^)]*)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path
        assert found.exists(), f"{page.name} links to {path}, which does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name} links to {target}, which has no such section"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """But those of the application, which a project replaces by its own, and those that only a project has."""
    named = re.findall(
        r"`((?:bench|cli|docs|functions|infra|layers/nightshift|local|tests(?!/own/))/[\w./-]*)`", page.read_text()
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_alarm_sends_its_reader_to_a_section_that_exists() -> None:
    sources = "".join(file.read_text() for file in (ROOT / "infra").rglob("*.py"))
    sent = set(re.findall(r'read_on="([^"]+)"', sources))
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert sent
    assert sent <= {heading.lower().replace(" ", "-") for heading in headings}


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
