"""What functions are made of: layers and their own code, built without Docker and byte-compiled.

Each is a folder under .build/, named after a hash of what goes into it and made only when it is not there yet. So a
synth needs the package index once for the dependencies, and nothing at all after that.
"""

import hashlib
import platform
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from pathlib import Path

from aws_cdk import AssetHashType, aws_lambda as lambda_

from infra.settings import CONTEXT_KEY, Architecture
from nightshift.errors import SettingError

PROJECT = Path(__file__).parent.parent
BUILD = PROJECT / ".build"

MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}

GLIBC = {"3.11": 26, "3.12": 34, "3.13": 34, "3.14": 34}
"""The glibc of Lambda's runtimes, 2.x: Amazon Linux 2 below Python 3.12, and Amazon Linux 2023 from there on."""

OLDEST_GLIBC = 17
"""Of manylinux2014. What was built for an older one runs on a newer one."""

CERTIFICATES = "/opt/certificates"
"""Where functions find the file that the setting `ca_file` names."""

IN_A_FUNCTION = ("/opt/", "/var/task/")
"""A `ca_file` there is one that the project itself puts into a layer or beside its jobs."""

NOT_SOURCE = ("__pycache__", "*.pyc", ".*")
_NOT_SOURCE = re.compile("|".join(map(translate, NOT_SOURCE)))
NOT_NEEDED = ("__pycache__", "tests", "bin")
"""Folders of installed packages that a function never imports. The *.dist-info stay: importlib.metadata reads them."""


class BuildError(Exception):
    """A package could not be built. The message is one line with the remedy."""


@dataclass(frozen=True)
class Package:
    """A folder that is ready to be uploaded, and the hash of what it was made from."""

    folder: Path
    digest: str

    def code(self) -> lambda_.Code:
        """For one stack: the CDK binds each such object to the first stack that uses it."""
        return lambda_.Code.from_asset(str(self.folder), asset_hash=self.digest, asset_hash_type=AssetHashType.CUSTOM)


@dataclass(frozen=True)
class Packages:
    """The layers and code for one version of Python on one architecture, from the sources of one project.

    Raises:
        SettingError: the certificates that the setting `ca_file` names cannot be read.
    """

    python: str
    architecture: Architecture
    project: Path = PROJECT
    certificate_file: str | None = None
    """The setting `ca_file`: a path on this machine, from the project's folder on."""

    @cached_property
    def dependencies(self) -> Package:
        """The layer with the libraries, those of the application included: changes rarely."""
        return self._build("dependencies", [*self._requirements, self._constraints], self._install, seen_as="/opt")

    @cached_property
    def nightshift(self) -> Package:
        """The layer with the runtime library: changes often."""
        folder = self.project / "layers/nightshift/python"
        return self._build("nightshift", _sources(folder), _copier(folder, "python"), seen_as="/opt")

    @cached_property
    def application(self) -> Package | None:
        """The layer with the application's own code; None where the application has none."""
        folder = self.project / "layers/application/python"
        sources = _sources(folder)
        return self._build("application", sources, _copier(folder, "python"), seen_as="/opt") if sources else None

    def __post_init__(self) -> None:
        # At once: a first build of the layers takes a minute.
        if (here := self._certificates_here) is not None:
            _check_certificates(here)

    @property
    def ca_file(self) -> str | None:
        """Where functions find the certificates of the setting `ca_file`."""
        here = self._certificates_here
        if here is None:
            return self.certificate_file
        return str(here) if self.architecture == "local" else f"{CERTIFICATES}/{here.name}"

    @cached_property
    def certificates(self) -> Package | None:
        """The layer with the certificates of the setting `ca_file`; None where there are none."""
        here = self._certificates_here
        if self.architecture == "local" or here is None:
            return None

        def fill(folder: Path) -> None:
            (folder / "certificates").mkdir()
            shutil.copy(here, folder / "certificates" / here.name)

        return self._build("certificates", [here], fill, seen_as="/opt")

    @property
    def _certificates_here(self) -> Path | None:
        """The file of the setting `ca_file` on this machine; None where a function finds it by itself."""
        if self.certificate_file is None or self.certificate_file.startswith(IN_A_FUNCTION):
            return None
        return (self.project / self.certificate_file).absolute()

    @cached_property
    def functions(self) -> Package:
        """The code of every function: the package `functions` and nothing else of the project."""
        folder = self.project / "functions"
        return self._build("functions", _sources(folder), _copier(folder, "functions"), seen_as="/var/task")

    @property
    def notes(self) -> list[str]:
        """What an operator should know: functions without byte-code start slower."""
        if self.compiler is not None:
            return []
        return [
            f"no python{self.python} here, so functions go without byte-code and start slower; put one on the PATH, or "
            f"choose another with {CONTEXT_KEY}.python"
        ]

    @cached_property
    def compiler(self) -> str | None:
        """A Python of the functions' own version, or None: byte-code of another version is never read."""
        if self.architecture == "local" or self.python == f"{sys.version_info.major}.{sys.version_info.minor}":
            return sys.executable
        return shutil.which(f"python{self.python}")

    @property
    def platforms(self) -> list[str]:
        """The wheels that the runtime can load, the newest first, in pip's words."""
        machine = MACHINES[self.architecture]
        newest = range(GLIBC[self.python], OLDEST_GLIBC - 1, -1)
        return [*(f"manylinux_2_{glibc}_{machine}" for glibc in newest), f"manylinux2014_{machine}"]

    @property
    def _requirements(self) -> list[Path]:
        application = self.project / "layers/application/requirements.txt"
        return [self.project / "layers/dependencies/requirements.txt", *([application] if application.exists() else [])]

    @property
    def _constraints(self) -> Path:
        return self.project / "constraints.txt"

    def _build(self, name: str, sources: list[Path], fill: Callable[[Path], None], *, seen_as: str) -> Package:
        version = platform.python_version() if self.architecture == "local" else self.python
        digest = hashlib.sha256(f"{version} {self.architecture} {self.compiler is not None}".encode())
        for source in sources:
            named = source.relative_to(self.project) if source.is_relative_to(self.project) else source.name
            digest.update(f"\0{named}\0".encode() + source.read_bytes())
        package = Package(BUILD / f"{name}-{digest.hexdigest()[:16]}", digest.hexdigest())
        if not package.folder.exists():
            BUILD.mkdir(exist_ok=True)
            # Made beside its place and moved there whole, so that a build that was broken off leaves nothing behind.
            with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=BUILD, ignore_cleanup_errors=True) as scratch:
                folder = Path(scratch, "content")
                folder.mkdir()
                fill(folder)
                self._compile(folder, seen_as)
                _publish(folder, package.folder)
        return package

    def _install(self, folder: Path) -> None:
        sys.stderr.write(f"nightshift: building the dependencies layer for Python {self.python}, once\n")
        target = folder / "python"
        arguments = ["--target", str(target), "--no-compile", "--quiet", "--disable-pip-version-check"]
        if self.architecture != "local":
            for platform_tag in self.platforms:
                arguments += ["--platform", platform_tag]
            arguments += ["--python-version", self.python, "--implementation", "cp", "--only-binary=:all:"]
        for requirements in self._requirements:
            arguments += ["-r", str(requirements)]
        command = [sys.executable, "-m", "pip", "install", *arguments, "-c", str(self._constraints)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            if "No matching distribution" in done.stderr:
                raise BuildError(
                    f"the dependencies layer could not be built: a package has no wheel for Python {self.python} and "
                    f"glibc 2.{GLIBC[self.python]}; choose another Python with {CONTEXT_KEY}.python, or another "
                    f"version of "
                    f"the package. pip: {last}"
                )
            raise BuildError(f"the dependencies layer could not be built; is the package index reachable? pip: {last}")
        for pattern in NOT_NEEDED:
            for unneeded in list(target.rglob(pattern)):
                shutil.rmtree(unneeded)

    def _compile(self, folder: Path, seen_as: str) -> None:
        """Byte-code beside the sources. Unchecked: the zip's time stamps are not the sources'."""
        if self.compiler is None:
            return
        options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", seen_as]
        # -I: this project's own modules must not be found in place of the compiler's. A file that does not compile is
        # left as it is: some packages carry templates.
        subprocess.run(
            [self.compiler, "-I", "-m", "compileall", *options, str(folder)], check=False, stdout=subprocess.DEVNULL
        )


def _check_certificates(file: Path) -> None:
    try:
        ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            f"{CONTEXT_KEY}.database.ca_file: {file} cannot be read as certificates ({error}); name a PEM file of this "
            "machine"
        ) from None


def _publish(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():  # otherwise another synth was faster, and made the same
            raise


def _copier(source: Path, name: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(*NOT_SOURCE))

    return fill


def _sources(folder: Path) -> list[Path]:
    """The files of a folder that are somebody's work, in a fixed order."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(map(_NOT_SOURCE.fullmatch, path.relative_to(folder).parts)))
