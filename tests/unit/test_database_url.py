"""The address of a database as people write it: what is understood, and what is refused in words."""

from importlib.resources import files
from pathlib import Path

import pytest

from cli.database_url import place_of, settings_of
from cli.refusals import RefusedError

FORM = "write it like postgresql://USER:PASSWORD@HOST:5432/DATABASE"
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "parts", "place"),
    [
        (
            f"postgresql://ada:{SECRET}@db.example.org:6543/shop",
            ("ada", SECRET, "db.example.org", 6543, True),
            "shop at db.example.org:6543",
        ),
        (
            " postgres://ada@db.example.org/shop\n",
            ("ada", None, "db.example.org", 5432, True),
            "shop at db.example.org:5432",
        ),
        ("postgresql+psycopg2://ada@db/shop", ("ada", None, "db", 5432, True), "shop at db:5432"),
        ("postgresql://ada:p%40ss%2F@db/shop", ("ada", "p@ss/", "db", 5432, True), "shop at db:5432"),
        ("postgresql://ada@db/shop?sslmode=verify-full", ("ada", None, "db", 5432, True), "shop at db:5432"),
        ("postgresql://ada@db/shop?sslmode=require", ("ada", None, "db", 5432, True), "shop at db:5432"),
        (
            "postgresql://ada@127.0.0.1/shop?sslmode=require",
            ("ada", None, "127.0.0.1", 5432, True),
            "shop at 127.0.0.1:5432",
        ),
        ("postgresql://ada@db/shop?port=6543", ("ada", None, "db", 6543, True), "shop at db:6543"),
        ("postgresql:///shop?host=db&user=ada", ("ada", None, "db", 5432, True), "shop at db:5432"),
        (f"postgresql://db/shop?user=ada&password={SECRET}", ("ada", SECRET, "db", 5432, True), "shop at db:5432"),
        ("postgresql://ada@127.0.0.1/shop", ("ada", None, "127.0.0.1", 5432, False), "shop at 127.0.0.1:5432"),
        ("postgresql://ada@127.8.9.10/shop", ("ada", None, "127.8.9.10", 5432, False), "shop at 127.8.9.10:5432"),
        (
            "postgresql://ada@LocalHost/shop?sslmode=disable",
            ("ada", None, "LocalHost", 5432, False),
            "shop at LocalHost:5432",
        ),
        ("postgresql://ada@[::1]:6543/shop", ("ada", None, "::1", 6543, False), "shop at [::1]:6543"),
        ("postgresql://ada@[2001:db8::7]/shop", ("ada", None, "2001:db8::7", 5432, True), "shop at [2001:db8::7]:5432"),
    ],
)
def test_an_address_over_tcp(text: str, parts: tuple[object, ...], place: str) -> None:
    settings = settings_of(text)
    url = settings.url

    assert (url.username, url.password, url.host, url.port, settings.asks_tls(url.host)) == parts
    assert (url.drivername, url.database, dict(url.query)) == ("postgresql+pg8000", "shop", {})
    assert (place_of(settings), settings.socket) == (place, None)


@pytest.mark.parametrize(
    ("text", "socket"),
    [
        ("postgresql://ada@/shop?host=/run/postgresql", "/run/postgresql/.s.PGSQL.5432"),
        ("postgresql://ada@/shop?host=/run/postgresql/&port=6543&sslmode=disable", "/run/postgresql/.s.PGSQL.6543"),
        ("postgresql://ada@%2Frun%2Fpostgresql:6543/shop", "/run/postgresql/.s.PGSQL.6543"),
        ("postgresql+pg8000://ada@/shop?unix_sock=/tmp/.s.PGSQL.1", "/tmp/.s.PGSQL.1"),
    ],
)
def test_an_address_of_a_unix_socket(text: str, socket: str) -> None:
    settings = settings_of(text)

    assert (settings.socket, settings.asks_tls(None), settings.url.host) == (socket, False, None)
    assert place_of(settings) == f"shop at {socket}"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", f"is no URL: {FORM}"),
        (f"ada:{SECRET}@db/shop", f"is no URL: {FORM}"),
        (f"ada:{SECRET}@db://shop", f"is no URL: {FORM}"),
        (f"mysql://ada:{SECRET}@db/shop", f"begins with mysql://, which is not PostgreSQL: {FORM}"),
        ("postgresqlx://ada@db/shop", f"begins with postgresqlx://, which is not PostgreSQL: {FORM}"),
        ("postgresql://", f"names no database and no user: {FORM}"),
        (f"postgresql://ada:{SECRET}@db", f"names no database: {FORM}"),
        (f"postgresql://ada:{SECRET}@db/", f"names no database: {FORM}"),
        ("postgresql://db/shop", f"names no user: {FORM}"),
        ("postgresql://ada@/shop", f"names no host: {FORM}, or add ?host=/var/run/postgresql"),
        ("postgresql://ada@db:many/shop", f"has a port that is no number: {FORM}"),
        ("postgresql://ada@db/shop?port=many", f"has the port 'many', which is no number: {FORM}"),
        ("postgresql://ada@db:0/shop", "has the port 0: a port is a number from 1 to 65535"),
        ("postgresql://ada@db:70000/shop", "has the port 70000: a port is a number from 1 to 65535"),
        (f"postgresql://ada:{SECRET}@{SECRET}@db/shop", "has more than one @: write a password's @"),
        ("postgresql://ada@db/shop?port=1&port=2", "has the option 'port' twice"),
        ("postgresql://ada@db/shop?port=0", "has the port 0: a port is a number from 1 to 65535"),
        (
            "postgresql://ada@db/shop?schema=app",
            "has the option 'schema', which would not be heeded: remove it; known are host, password, port, sslmode",
        ),
        *(
            (
                f"postgresql://ada@db/shop?sslmode={mode}",
                f"has sslmode={mode}, which would send everything to db unencrypted: over a network TLS is "
                "always used and the server verified, as with verify-full; leave sslmode out",
            )
            for mode in ("disable", "allow", "prefer")
        ),
        (
            "postgresql://ada@db/shop?sslmode=nonsense",
            "has sslmode=nonsense: it is one of disable, allow, prefer, require",
        ),
        (
            "postgresql://ada@db/shop?sslrootcert=/nowhere/ca.pem",
            "names /nowhere/ca.pem as sslrootcert: No such file",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words_and_without_the_password(text: str, answer: str) -> None:
    with pytest.raises(RefusedError) as refused:
        settings_of(text)

    assert str(refused.value).startswith(f"the database URL {answer}")
    assert SECRET not in str(refused.value)


def test_the_authorities_of_a_server_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text((files("nightshift.database") / "certificates" / "rds.pem").read_text())
    assert settings_of(f"postgresql://ada@db/shop?sslrootcert={file}").ca_file == str(file)

    file.write_text("no certificate")
    with pytest.raises(RefusedError, match="as sslrootcert: it holds no certificate in PEM"):
        settings_of(f"postgresql://ada@db/shop?sslrootcert={file}")
