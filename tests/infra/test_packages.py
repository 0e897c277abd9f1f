"""What is uploaded for the functions."""

import importlib.util
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import pytest
import trustme
from aws_cdk import Stack

from infra.code import Code
from infra.packages import BuildError, Package, Packages
from infra.settings import LambdaPython, read_settings
from nightshift.errors import SettingError
from tests.infra.conftest import EXISTING, JOBS, PROJECT

UNCHECKED_HASH = 0b01
"""The flags of byte-code that is used without looking at its source (PEP 552)."""


@pytest.fixture(scope="session")
def packages() -> Packages:
    """As they are deployed by default."""
    settings = read_settings(EXISTING, JOBS)
    return Packages(settings.python, settings.architecture)


@pytest.fixture(scope="session")
def compiled() -> Packages:
    """Those of a Python that is found: this one."""
    settings = read_settings({**EXISTING, "architecture": "local"}, JOBS)
    return Packages(settings.python, settings.architecture)


def sources(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.py") if path.is_file()]


@pytest.mark.parametrize("name", ["dependencies", "nightshift", "functions"])
def test_every_source_has_byte_code_that_is_used_unchecked(compiled: Packages, name: str) -> None:
    package: Package = getattr(compiled, name)

    for source in sources(package.folder):
        header = Path(importlib.util.cache_from_source(str(source))).read_bytes()[:8]
        assert header[:4] == importlib.util.MAGIC_NUMBER, source
        assert struct.unpack("<I", header[4:8])[0] == UNCHECKED_HASH, source


def test_byte_code_names_the_place_in_lambda_and_not_this_machine(compiled: Packages) -> None:
    for package, place in ((compiled.nightshift, b"/opt/python/nightshift"), (compiled.functions, b"/var/task/func")):
        for source in sources(package.folder):
            code = Path(importlib.util.cache_from_source(str(source))).read_bytes()
            assert place in code, source
            assert str(package.folder).encode() not in code, source


def test_functions_hold_the_jobs_and_nothing_else_of_the_project(packages: Packages) -> None:
    folder = packages.functions.folder

    assert [path.name for path in folder.iterdir()] == ["functions"]
    assert {file.relative_to(folder / "functions") for file in sources(folder)} == {
        file.relative_to(PROJECT / "functions") for file in sources(PROJECT / "functions")
    }


def test_dependencies_are_for_lambdas_processor_and_know_their_versions(packages: Packages) -> None:
    folder = packages.dependencies.folder / "python"
    libraries = list(folder.rglob("*.so"))

    assert libraries
    assert not [path for path in libraries if "x86_64" in path.name]
    assert list(folder.glob("sqlalchemy-*.dist-info/METADATA"))
    assert not list(folder.rglob("tests"))


def test_certificates_are_in_the_layer(packages: Packages) -> None:
    assert (packages.nightshift.folder / "python/nightshift/database/certificates/rds.pem").is_file()
    assert (packages.nightshift.folder / "python/nightshift/database/migrations/script.py.mako").is_file()


def test_a_second_synth_builds_nothing(packages: Packages, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packages.dependencies

    def no_index(*_: object) -> None:
        pytest.fail("it was built again")

    monkeypatch.setattr(Packages, "_install", no_index)

    assert Packages(packages.python, packages.architecture).dependencies == first


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody else's projects have built: what is the same in two of them is built once."""
    return tmp_path_factory.mktemp("builds")


@pytest.fixture
def project(tmp_path: Path, builds: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of somebody else's: the library, no dependencies of its own, and no application yet."""
    monkeypatch.setattr("infra.packages.BUILD", builds)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("layers/nightshift", "functions"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(PROJECT / name)
    for name in ("layers/dependencies/requirements.txt", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def wheel(folder: Path) -> Path:
    """A library that no index has."""
    path = folder / "moonphases-1.0-py3-none-any.whl"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: moonphases\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with ZipFile(path, "w") as archive:
        archive.writestr("moonphases.py", "FULL = 1\n")
        for name, content in about.items():
            archive.writestr(f"moonphases-1.0.dist-info/{name}", content)
    return path


def made_of(project: Path, **more: Any) -> Packages:
    """For this Python, so that byte-code can be made."""
    here = read_settings({**EXISTING, "architecture": "local"}, JOBS)
    return Packages(here.python, here.architecture, project, **more)


def layers_of(packages: Packages) -> list[str]:
    code = Code(Stack(), "Code", packages)
    return [str(layer.node.id) for layer in code.layers]


@pytest.mark.parametrize("left_behind", [(), ("python/application/__pycache__/models.cpython-311.pyc",)])
def test_without_an_application_there_are_two_layers(left_behind: tuple[str, ...], project: Path) -> None:
    for name in left_behind:
        write(project / "layers/application" / name, "")

    assert made_of(project).application is None
    assert layers_of(made_of(project)) == ["Dependencies", "Nightshift"]


def test_an_application_is_a_layer_of_its_own(project: Path) -> None:
    without = made_of(project)
    write(project / "layers/application/python/application/__init__.py", "")
    write(project / "layers/application/python/application/models.py", "TABLE = 'stars'\n")

    application = made_of(project).application

    assert application is not None
    model = application.folder / "python/application/models.py"
    assert model.read_text() == "TABLE = 'stars'\n"
    assert b"/opt/python/application" in Path(importlib.util.cache_from_source(str(model))).read_bytes()
    assert layers_of(made_of(project)) == ["Dependencies", "Nightshift", "Application"]
    assert (without.nightshift, without.dependencies) == (made_of(project).nightshift, made_of(project).dependencies)


def test_what_the_application_requires_is_among_the_dependencies(project: Path) -> None:
    before = made_of(project).dependencies
    write(project / "layers/application/requirements.txt", "")
    empty = made_of(project).dependencies
    write(project / "layers/application/requirements.txt", f"{wheel(project)}\n")

    dependencies = made_of(project).dependencies

    assert len({before.digest, empty.digest, dependencies.digest}) == 3
    assert (dependencies.folder / "python/moonphases.py").is_file()
    assert not (empty.folder / "python/moonphases.py").exists()


def test_the_app_finds_the_application_where_there_is_one(project: Path) -> None:
    for name in ("app.py", "infra"):
        (project / name).symlink_to(PROJECT / name)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    show = "import runpy, sys; runpy.run_path('app.py'); import application; print(application.__file__)"

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", show]
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)

    assert "No module named 'application'" in run().stderr
    write(project / "layers/application/python/application/__init__.py", "")
    assert run().stdout == f"{project}/layers/application/python/application/__init__.py\n"


GLIBC_OF_AMAZON_LINUX_2023 = (2, 34)
AARCH64 = 183
"""The machine of an ELF file."""


def test_every_shared_object_is_of_lambdas_processor_and_of_a_glibc_that_it_has(packages: Packages) -> None:
    libraries = [path for path in packages.dependencies.folder.rglob("*") if re.search(r"\.so(\.|$)", path.name)]

    assert packages.python in ("3.12", "3.13", "3.14")
    assert libraries
    for library in libraries:
        content = library.read_bytes()
        assert content[:4] == b"\x7fELF", library
        assert struct.unpack("<H", content[18:20])[0] == AARCH64, library
        versions = [tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_(\d+\.\d+)", content)]
        assert max(versions, default=(2, 0)) <= GLIBC_OF_AMAZON_LINUX_2023, library


@pytest.mark.parametrize(("python", "newest"), [("3.11", 26), ("3.12", 34), ("3.14", 34)])
def test_only_wheels_that_the_runtime_can_load_are_asked_for(python: LambdaPython, newest: int) -> None:
    asked = Packages(python, "arm64").platforms

    assert asked[0] == f"manylinux_2_{newest}_aarch64"
    assert asked[-2:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]
    assert not [tag for tag in asked if (found := re.search(r"2_(\d+)_", tag)) and int(found[1]) > newest]


def test_a_package_without_a_wheel_for_the_runtime_is_told_with_the_remedy(project: Path) -> None:
    (project / "layers/dependencies/requirements.txt").write_text("moonphases==1.0\n")

    with pytest.raises(BuildError, match=r"no wheel for Python 3\.14 and glibc 2\.34; choose another Python with"):
        _ = Packages("3.14", "arm64", project).dependencies


def test_a_python_that_is_not_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.packages.shutil.which", lambda name: None)

    (note,) = Packages("3.12" if sys.version_info[:2] == (3, 14) else "3.14", "arm64").notes

    assert "go without byte-code" in note
    assert Packages(read_settings({**EXISTING, "architecture": "local"}, JOBS).python, "local").notes == []


@pytest.mark.parametrize(
    ("here", "architecture", "chosen"),
    [
        ((3, 11), "arm64", "3.14"),
        ((3, 12), "arm64", "3.12"),
        ((3, 13), "x86_64", "3.13"),
        ((3, 15), "arm64", "3.14"),
        ((3, 11), "local", "3.11"),
    ],
)
def test_functions_have_this_python_from_3_12_on_or_else_the_newest(
    here: tuple[int, int], architecture: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Version(NamedTuple):
        major: int
        minor: int

    monkeypatch.setattr("infra.settings.deployment.sys.version_info", Version(*here))

    assert read_settings({**EXISTING, "architecture": architecture}, JOBS).python == chosen


def test_certificates_of_ones_own_are_put_into_a_layer(project: Path) -> None:
    authority = trustme.CA().cert_pem.bytes()
    (project / "authorities.pem").write_bytes(authority)

    packages = Packages("3.14", "arm64", project, certificate_file="authorities.pem")

    assert packages.ca_file == "/opt/certificates/authorities.pem"
    assert packages.certificates is not None
    assert (packages.certificates.folder / "certificates/authorities.pem").read_bytes() == authority
    assert layers_of(made_of(project, certificate_file="authorities.pem")) == ["Dependencies", "Nightshift"]  # local
    assert made_of(project, certificate_file="authorities.pem").ca_file == str(project / "authorities.pem")


def test_certificates_that_are_not_there_are_refused_at_synth(project: Path) -> None:
    (project / "empty.pem").touch()

    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(SettingError, match=r"database\.ca_file: .* cannot be read as certificates"):
            _ = Packages("3.14", "arm64", project, certificate_file=name).ca_file


def test_certificates_that_the_project_puts_into_its_own_layer_are_left_there(project: Path) -> None:
    packages = Packages("3.14", "arm64", project, certificate_file="/opt/python/application/ca.pem")

    assert (packages.ca_file, packages.certificates) == ("/opt/python/application/ca.pem", None)
