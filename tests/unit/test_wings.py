"""The library stands in wings, and imports only downwards; what a folder must not know it does not import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "layers/nightshift/python/nightshift"

FLOOR = {"deadline", "environment", "errors", "faces", "telemetry", "zones"}
"""Modules beside the wings: all may import them, and they import nothing of the library."""

WINGS = {
    "declaration": set(),
    "database": set(),
    "ledger": {"declaration", "database"},
    "catalogue": {"database"},
    "store": {"declaration", "database", "ledger"},
    "outbox": {"declaration", "database", "ledger"},
    "engine": {"declaration", "database", "ledger", "catalogue", "store"},
    "steps": {"declaration", "database", "ledger", "catalogue", "store", "engine", "outbox"},
    "runtime": {"declaration", "database", "ledger", "catalogue", "store", "outbox", "engine"},
    "operations": {"declaration", "database", "ledger", "catalogue"},
}
"""What the modules of each wing may import, beside their own wing and the floor."""

FACES = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))


@dataclass(frozen=True)
class Import:
    """One import, anywhere in a file."""

    file: Path
    line: int
    name: str
    """Dotted: the module, and of `from module import name` the name as well."""

    @property
    def parts(self) -> list[str]:
        return self.name.split(".")

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.name}"


def imports(file: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (Import(file, node.lineno, f"{node.module}.{name.name}") for name in node.names)


def test_every_folder_of_the_library_is_a_wing_and_every_other_module_stands_on_the_floor() -> None:
    folders = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}

    assert folders <= set(WINGS)
    assert {path.stem for path in LIBRARY.glob("*.py")} - {"__init__"} == FLOOR


def test_a_wing_imports_only_what_stands_below_it() -> None:
    offenders = []
    for file in LIBRARY.rglob("*.py"):
        room = file.relative_to(LIBRARY).parts[0].removesuffix(".py")
        allowed = FLOOR | WINGS[room] | {room} if room in WINGS else set()
        if room != "__init__":
            known = (each for each in imports(file) if each.parts[0] == "nightshift")
            offenders += [str(each) for each in known if each.parts[1] not in allowed]

    assert offenders == []


@pytest.mark.parametrize(
    ("folder", "strangers"),
    [
        (
            "layers/nightshift/python/nightshift",
            {"application", "functions", "infra", "cli", "local", "aws_cdk", "tests"},
        ),
        ("layers/application", {"functions", "infra", "cli", "local", "aws_cdk", "tests"}),
        ("functions", {"infra", "cli", "local", "aws_cdk", "tests"}),
        ("infra", {"application", "functions", "cli", "local", "sqlalchemy", "tests"}),
        ("cli", {"functions", "infra", "local", "aws_cdk", "tests"}),
        ("local", {"infra", "cli", "aws_cdk", "tests"}),
    ],
)
def test_a_folder_does_not_import_what_it_is_deployed_or_driven_by(folder: str, strangers: set[str]) -> None:
    """Nor does the library import the application: it finds its jobs and its project by name."""
    found = [each for file in (ROOT / folder).rglob("*.py") for each in imports(file)]

    assert [str(each) for each in found if each.parts[0] in strangers] == []


def test_what_goes_without_the_example_knows_nothing_of_it() -> None:
    """Neither the application nor a pack, and nothing in a folder `example`. A project's own tests know its packs."""
    files = (file for folder in ("bench", "cli", "infra", "local", "tests") for file in (ROOT / folder).rglob("*.py"))
    theirs = [parts for file in files if "example" not in (parts := file.relative_to(ROOT).parts)]
    found = [each for parts in theirs if parts[:2] != ("tests", "own") for each in imports(ROOT.joinpath(*parts))]
    of_a_pack = [each for each in found if each.parts[0] == "functions" and each.parts[1:2] not in ([], ["platform"])]

    assert [str(each) for each in found if each.parts[0] == "application" or "example" in each.parts] == []
    assert [str(each) for each in of_a_pack] == []


@pytest.mark.parametrize("wing", FACES)
def test_a_face_shows_the_names_that_type_checkers_see_and_no_other(wing: str) -> None:
    package = import_module(f"nightshift.{wing}")
    seen = {each.parts[-1]: each.parts[-2] for each in imports(LIBRARY / wing / "__init__.py") if each.parts[1] == wing}
    with pytest.raises(AttributeError) as refused:
        _ = package.nothing
    shown = set(str(refused.value).partition("; it has ")[2].split(", "))

    assert shown == set(seen)
    assert [name for name, module in seen.items() if getattr(package, name).__class__ is type(ast)] == []
    assert not shown & {path.stem for path in (LIBRARY / wing).iterdir()}, "a module would hide the name"


@pytest.mark.parametrize("wing", FACES)
def test_a_face_imports_nothing_before_it_is_asked(wing: str) -> None:
    code = f"import sys, nightshift.{wing}; print(*(name for name in sys.modules if name.startswith('nightshift.')))"

    assert set(printed(code)) == {"nightshift.faces", f"nightshift.{wing}"}


def test_a_handler_imports_nothing_of_what_only_a_check_or_a_proposal_asks_for() -> None:
    code = (
        "import sys; from nightshift import Delete, Job, lambda_handler;"
        "lambda_handler(Job(name='a', kind='retention', schedule='cron(0 3 * * ? *)', "
        "steps=(Delete('t', where='x'),)));"
        "print(*(name for name in sys.modules if name.startswith('nightshift.')))"
    )
    found = printed(code)

    asked = {"checking", "proposals", "names", "access"}
    assert "nightshift.steps.rows" in found
    loaded = {name for name in found if name.rpartition(".")[2] in asked}
    assert loaded <= {"nightshift.declaration.names"}


def printed(code: str) -> list[str]:
    """Run a few statements in a fresh interpreter that knows the library alone, and return the words they print."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(LIBRARY.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()
