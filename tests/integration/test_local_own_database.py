"""`make local DATABASE_URL=…`: the address in words, what would be made, and nothing of it before somebody says yes."""

import os
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from local.own_database import OwnDatabase, OwnDatabaseError, RefusedByPersonError, consent, for_psql
from local.postgres import PostgresServer
from nightshift.database import migrations
from nightshift.declaration import this_project

PROJECT = Path(__file__).parents[2]
UP = [sys.executable, "-m", "local", "up"]
PASSWORD = "s3cret/with:signs@"


@pytest.fixture
def app(database: Engine, postgres: PostgresServer) -> Iterator[OwnDatabase]:
    """A user with a password and no rights but to connect, on a database without the schema."""
    with database.begin() as connection:
        connection.execute(text("drop schema nightshift cascade"))
        connection.execute(text(f"create role app login password '{PASSWORD}'"))
    try:
        url = postgres.tcp_url(str(database.url.database)).set(username="app", password=PASSWORD)
        yield OwnDatabase.parse(url.set(drivername="postgresql").render_as_string(hide_password=False))
    finally:
        with database.begin() as connection:
            connection.execute(text("drop owned by app"))
            connection.execute(text("drop role app"))


def whole(database: OwnDatabase) -> str:
    return database.settings.url.set(drivername="postgresql").render_as_string(hide_password=False)


def may_create(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text(f"grant create on database {database.url.database} to app"))


def schemas(database: Engine) -> set[str]:
    with database.connect() as connection:
        return set(connection.scalars(text("select nspname from pg_namespace where nspname !~ '^pg_'")))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://me@localhost/shop", "mysql://, which is not PostgreSQL"),
        ("shop", "is no URL: write it like postgresql://USER:PASSWORD@HOST:5432/DATABASE"),
        ("postgresql://localhost/shop", "names no user"),
        ("postgresql://me@localhost", "names no database"),
        (
            "postgresql://me:secret@db.example/shop?sslrootcert=nowhere.pem",
            r"names /.*/nowhere\.pem as sslrootcert: No such file",
        ),
        ("postgresql://me:secret@db.example/shop?sslmode=disable", "send everything to db.example unencrypted"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_in_words(url: str, says: str) -> None:
    with pytest.raises(OwnDatabaseError, match=says) as refused:
        OwnDatabase.parse(url)
    assert "secret" not in str(refused.value)


def test_a_database_that_cannot_be_reached_is_told_in_words(app: OwnDatabase, postgres: PostgresServer) -> None:
    url, at = app.settings.url.set(drivername="postgresql"), f"PostgreSQL on 127.0.0.1:{postgres.port}"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        free = closed.getsockname()[1]
    for other, says in (
        (url.set(password="guessed"), f"{at} does not let app in: the password is wrong"),
        (url.set(username="nobody"), f"{at} does not let nobody in: the password is wrong"),
        (make_url(app.url), f"{at} does not let app in: it asks for a password"),
        (url.set(database="nowhere"), f"{at} has no database nowhere"),
        (url.set(query={"sslmode": "require"}), f"{at} was asked for TLS: "),
        (url.set(port=free), f"PostgreSQL on 127.0.0.1:{free} does not answer: .*[Cc]onnection refused"),
        (url.set(host="nowhere.invalid"), f"PostgreSQL on nowhere.invalid:{postgres.port} does not answer: "),
        (
            url.set(query={"host": "/nowhere"}),
            r"PostgreSQL on /nowhere/.s.PGSQL.\d+ does not answer: .*[Nn]o such file",
        ),
    ):
        with pytest.raises(OwnDatabaseError, match=says) as refused:
            OwnDatabase.parse(other.render_as_string(hide_password=False)).look(tables=False)
        assert PASSWORD not in str(refused.value)


def test_what_would_be_made_is_said_and_only_reading_is_done(app: OwnDatabase, database: Engine) -> None:
    with pytest.raises(OwnDatabaseError, match=r'grant create on database "test_.*" to "app"'):
        app.look(tables=False)
    may_create(database)

    found = app.look(tables=False)

    assert f"{app.name} on {app.place}, as the user app (PostgreSQL 18" in found.said
    assert "the schema nightshift (nightshift_0001" in found.said
    assert "nothing outside of it" in found.said
    assert "nightshift" not in schemas(database)


def test_what_is_up_to_date_is_not_asked_about(database: Engine) -> None:
    found = OwnDatabase.parse(for_psql(database.url)).look(tables=True)

    assert "nothing: the schema nightshift is there and up to date" in found.said
    consent(found, yes=False, ask=None)


def test_what_is_behind_is_asked_about(empty_database: Engine) -> None:
    migrations.upgrade(empty_database, this_project().branches(tables=False))
    with empty_database.begin() as connection:
        connection.execute(text("delete from nightshift.alembic_version"))

    found = OwnDatabase.parse(for_psql(empty_database.url)).look(tables=False)

    assert "changes in the schema nightshift (nightshift_0001" in found.said
    with pytest.raises(RefusedByPersonError):
        consent(found, yes=False, ask=lambda question: "")


def test_the_address_that_is_shown_is_one_that_psql_takes_and_holds_no_password(
    app: OwnDatabase, database: Engine, postgres: PostgresServer
) -> None:
    assert PASSWORD not in app.url
    assert PASSWORD not in repr(app)
    for url in (app.url, for_psql(database.url)):
        psql = Path(postgres._command("psql")[-1])
        done = subprocess.run(
            [psql, "--no-psqlrc", url, "-Atc", "select current_database()"],
            env={"PGPASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout.strip()) == (0, database.url.database), done.stderr


def without_asking(arguments: list[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*UP, *arguments],
        cwd=PROJECT,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_where_nobody_can_be_asked_nothing_is_made(app: OwnDatabase, database: Engine) -> None:
    may_create(database)

    done = without_asking([], {"NIGHTSHIFT_LOCAL_DATABASE_URL": whole(app)})

    assert done.returncode == 1
    assert "nobody can be asked here, so nothing was made: give --yes" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert "nightshift" not in schemas(database)


def test_a_wrong_password_ends_before_anything_is_started() -> None:
    done = without_asking(["--yes", "--database-url", "postgresql://me:guessed@127.0.0.1:1/shop"], {})

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("PostgreSQL on 127.0.0.1:1 does not answer: ")


def test_a_no_changes_nothing(app: OwnDatabase, database: Engine) -> None:
    may_create(database)
    ours, theirs = pty.openpty()
    with subprocess.Popen([*UP, "--database-url", whole(app)], cwd=PROJECT, stdin=theirs, stdout=theirs) as asking:
        os.close(theirs)
        said = read_until(ours, "Type yes to go on")
        os.write(ours, b"no\n")
        said += read_until(ours, "nothing was made")
        assert asking.wait(30) == 1
    os.close(ours)
    assert "as the user app" in said
    assert PASSWORD not in said
    assert "nightshift" not in schemas(database)


def read_until(terminal: int, words: str) -> str:
    said, deadline = "", time.monotonic() + 30
    while words not in " ".join(said.split()):
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], said
        said += os.read(terminal, 4096).decode()
    return said


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["DATABASE_URL=postgresql://me@localhost/shop"], "postgresql://me@localhost/shop"),
        (["DATABASE_URL=postgresql://me@localhost/shop", "YES=1"], "postgresql://me@localhost/shop --yes"),
        ([], ""),
    ],
)
def test_make_hands_over_what_stands_on_its_command_line_only(arguments: list[str], given: str, tmp_path: Path) -> None:
    """With a python that only says what it was given, and an address in the shell that was meant for something else."""
    told = tmp_path / "python"
    told.write_text('#!/bin/sh\nshift 3\necho $NIGHTSHIFT_LOCAL_DATABASE_URL "$@"\n')
    told.chmod(0o755)
    settings = [
        f"BIN={tmp_path}",
        f"RUN=PATH={tmp_path}:$$PATH",
        "-o",
        ".venv/installed",
        "-o",
        "node_modules/installed",
    ]
    done = subprocess.run(
        ["make", "-s", "local", *settings, *arguments],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": "postgresql://another"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, given, "")
