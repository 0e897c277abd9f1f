"""PostgreSQL on one machine keeps its data between starts, wants a password over TCP, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from local.postgres import PostgresError, PostgresServer

NEVER_ENDING = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background ignores it
from local.postgres import PostgresServer
with PostgresServer(Path(sys.argv[1])) as server:
    print(server.port, server.socket.parent, flush=True)
    time.sleep(600)
"""


def test_data_survives_a_restart(tmp_path: Path) -> None:
    for seen in (0, 1):
        with (
            PostgresServer(tmp_path / "data") as server,
            create_engine(server.url(), poolclass=NullPool).begin() as connection,
        ):
            connection.exec_driver_sql("create table if not exists kept (id int)")
            assert connection.scalar(text("select count(*) from kept")) == seen
            connection.exec_driver_sql("insert into kept values (1)")


def test_tcp_is_on_loopback_only_and_wants_the_password(postgres: PostgresServer) -> None:
    with create_engine(postgres.tcp_url(), poolclass=NullPool).connect() as connection:
        assert str(connection.scalar(text("select inet_server_addr()"))).removesuffix("/32") == "127.0.0.1"
        assert connection.scalar(text("show listen_addresses")) == "127.0.0.1"

    stranger = create_engine(postgres.tcp_url().set(password="guessed"), poolclass=NullPool)
    with pytest.raises(DBAPIError, match="password authentication failed"):
        stranger.connect()


def test_a_port_in_use_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = PostgresServer(tmp_path / "data", port=other.getsockname()[1])

        with pytest.raises(PostgresError, match="Address already in use"):
            server.start()

    assert not (tmp_path / "data" / "postmaster.pid").exists()
    with pytest.raises(PostgresError, match="not running"):
        _ = server.socket


@pytest.mark.parametrize(
    ("ending", "tidies"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)]
)
def test_the_server_ends_with_its_process(tmp_path: Path, ending: signal.Signals, tidies: bool) -> None:
    """Ctrl-C also takes the socket's folder away; a process that is killed cannot, but the server still stops."""
    with subprocess.Popen(
        [sys.executable, "-c", NEVER_ENDING, str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    ) as process:
        assert process.stdout is not None
        port, sockets = process.stdout.readline().split()

        process.send_signal(ending)
        process.wait(30)

    deadline = time.monotonic() + 30
    while (tmp_path / "data" / "postmaster.pid").exists():
        assert time.monotonic() < deadline, "the server outlived its process"
        time.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))
    assert Path(sockets).exists() != tidies
    if not tidies:
        Path(sockets).rmdir()
