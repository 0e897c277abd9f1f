"""Modules stand on floors and import only downwards: no circle, and nothing below knows what stands above it."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers/nightshift/python/nightshift"


def imported(file: Path) -> set[str]:
    """The dotted names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return names


def test_no_module_of_the_library_imports_one_that_stands_on_it() -> None:
    rooms: dict[str, set[str]] = {}
    for file in LAYER.rglob("*.py"):
        room = file.relative_to(LAYER).parts[0].removesuffix(".py")
        known = {
            name.split(".")[1] for name in imported(file) if name.startswith("nightshift.") and name != "nightshift."
        }
        rooms.setdefault(room, set()).update(known - {room})
    floors = list(TopologicalSorter(rooms).static_order())  # raises CycleError, which names the circle
    assert floors.index("models") < floors.index("ledger") < floors.index("execution") < floors.index("steps")
    assert floors.index("steps") < floors.index("job") < floors.index("runtime")


@pytest.mark.parametrize(
    ("folder", "strangers"),
    [
        ("layers/nightshift/python/nightshift", {"infra", "cli", "local", "aws_cdk", "tests"}),
        ("functions", {"infra", "cli", "local", "aws_cdk", "tests"}),
        ("infra", {"cli", "local", "sqlalchemy", "tests"}),
        ("cli", {"infra", "local", "aws_cdk", "tests"}),
        ("local", {"infra", "cli", "aws_cdk", "tests"}),
    ],
)
def test_a_folder_does_not_know_what_it_is_deployed_or_driven_by(folder: str, strangers: set[str]) -> None:
    for file in (ROOT / folder).rglob("*.py"):
        known = {name.split(".")[0] for name in imported(file)}
        assert not known & strangers, f"{file.relative_to(ROOT)} imports {known & strangers}"


def test_only_the_registry_looks_into_the_functions_from_below() -> None:
    for file in LAYER.rglob("*.py"):
        named = {name for name in imported(file) if name.split(".")[0] == "functions"}
        assert not named, f"{file.name} imports {named}: a job is known by its declaration, through the registry"
