"""What is uploaded for the functions."""

import importlib.util
import struct
from pathlib import Path

import pytest

from infra.packages import Package, Packages
from infra.settings import read_settings
from tests.infra.conftest import EXISTING, JOBS

UNCHECKED_HASH = 0b01
"""The flags of byte-code that is used without looking at its source (PEP 552)."""


@pytest.fixture(scope="session")
def packages() -> Packages:
    settings = read_settings(EXISTING, JOBS)
    return Packages(settings.python, settings.architecture)


def sources(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.py") if path.is_file()]


@pytest.mark.parametrize("name", ["dependencies", "nightshift", "functions"])
def test_every_source_has_byte_code_that_is_used_unchecked(packages: Packages, name: str) -> None:
    package: Package = getattr(packages, name)

    for source in sources(package.folder):
        header = Path(importlib.util.cache_from_source(str(source))).read_bytes()[:8]
        assert header[:4] == importlib.util.MAGIC_NUMBER, source
        assert struct.unpack("<I", header[4:8])[0] == UNCHECKED_HASH, source


def test_byte_code_names_the_place_in_lambda_and_not_this_machine(packages: Packages) -> None:
    for package, place in ((packages.nightshift, b"/opt/python/nightshift"), (packages.functions, b"/var/task/func")):
        for source in sources(package.folder):
            code = Path(importlib.util.cache_from_source(str(source))).read_bytes()
            assert place in code, source
            assert str(package.folder).encode() not in code, source


def test_functions_hold_the_jobs_and_nothing_else_of_the_project(packages: Packages) -> None:
    folder = packages.functions.folder

    assert [path.name for path in folder.iterdir()] == ["functions"]
    assert not [job for job in JOBS.values() if not Path(folder, *job.module.split(".")).with_suffix(".py").is_file()]


def test_dependencies_are_for_lambdas_processor_and_know_their_versions(packages: Packages) -> None:
    folder = packages.dependencies.folder / "python"
    libraries = list(folder.rglob("*.so"))

    assert libraries
    assert not [path for path in libraries if "x86_64" in path.name]
    assert list(folder.glob("sqlalchemy-*.dist-info/METADATA"))
    assert not list(folder.rglob("tests"))


def test_certificates_are_in_the_layer(packages: Packages) -> None:
    assert (packages.nightshift.folder / "python/nightshift/certificates/rds.pem").is_file()
    assert (packages.nightshift.folder / "python/nightshift/migrations/script.py.mako").is_file()


def test_a_second_synth_builds_nothing(packages: Packages, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packages.dependencies

    def no_index(*_: object) -> None:
        pytest.fail("it was built again")

    monkeypatch.setattr(Packages, "_install", no_index)

    assert Packages(packages.python, packages.architecture).dependencies == first
