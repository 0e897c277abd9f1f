"""Where the database is: three forms, each refused with the remedy when it is not whole; and TLS always verified."""

import json
import ssl
from typing import Any

import pytest

from nightshift import SettingError
from nightshift.database import DatabaseSettings
from nightshift.database.connection import encryption, tls_context


def test_a_url_always_means_our_driver() -> None:
    settings = DatabaseSettings.from_mapping({"url": "postgresql://me@db.example/app"})
    assert settings.url.drivername == "postgresql+pg8000"
    assert settings.socket is None


def test_a_socket_is_known_by_its_path() -> None:
    settings = DatabaseSettings.from_mapping({"url": "postgresql://me@/app?unix_sock=/run/.s.PGSQL.5432"})
    assert settings.socket == "/run/.s.PGSQL.5432"


def test_a_socket_is_known_by_its_folder_as_psql_writes_it() -> None:
    settings = DatabaseSettings.from_mapping({"url": "postgresql://me@/app?host=/var/run/postgresql&port=5433"})
    assert settings.socket == "/var/run/postgresql/.s.PGSQL.5433"
    assert (settings.url.host, settings.url.port, settings.url.database) == (None, None, "app")


def test_a_url_may_say_its_parts_as_options() -> None:
    settings = DatabaseSettings.from_mapping(
        {"url": "postgres:///app?host=db.example&user=me&password=x&sslmode=require&sslrootcert=/ca.pem"}
    )
    assert settings.url.render_as_string(hide_password=False) == "postgresql+pg8000://me:x@db.example/app"
    assert (settings.sslmode, settings.ca_file) == ("require", "/ca.pem")


LOOPBACK = ["localhost", "127.0.0.1", "127.9.8.7", "[::1]", ""]
ELSEWHERE = ["db.example", "localhost.example", "10.0.0.1", "0.0.0.0", "128.0.0.1", "[::2]"]  # noqa: S104 - an address


def encrypted(host: str, sslmode: str = "") -> ssl.SSLContext | bool:
    settings = DatabaseSettings.from_mapping({"url": f"postgresql://me@{host}/app{sslmode and '?sslmode='}{sslmode}"})
    return encryption(settings, settings.url.host)


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("sslmode", ["", "disable", "allow", "prefer"])
def test_no_tls_is_asked_where_nothing_leaves_the_machine(host: str, sslmode: str) -> None:
    assert encrypted(host, sslmode) is False


@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.parametrize("sslmode", ["", "require", "verify-ca", "verify-full"])
def test_everywhere_else_certificate_and_name_are_verified(host: str, sslmode: str) -> None:
    context = encrypted(host, sslmode)
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(("sslmode", "name"), [("require", False), ("verify-ca", False), ("verify-full", True)])
def test_the_end_of_a_tunnel_is_verified_when_the_url_asks(sslmode: str, name: bool) -> None:
    context = encrypted("localhost", sslmode)
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, name)


def test_a_host_that_only_the_secret_knows_is_asked_for_tls() -> None:
    settings = DatabaseSettings.from_mapping({"secret_arn": "arn:aws:secretsmanager:x"})
    assert isinstance(encryption(settings, "db.example"), ssl.SSLContext)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no database address"),
        ({"host": "db.example", "name": "app"}, "no database address"),
        ({"iam_region": "eu-central-1", "host": "db.example"}, "needs the database's name, user"),
        ({"url": "not a url"}, "is no URL: write it like postgresql://user@host:5432/name"),
        ({"url": "mysql://me@db.example/app"}, "mysql://, which is not PostgreSQL"),
        (
            {"url": "postgresql://me@db.example:many/app"},
            "has a port that is no number: write it like postgresql://user@host:5432/name",
        ),
        ({"url": "postgresql://me@localhost/app?port=many"}, "the port 'many', which is no number"),
        ({"url": "postgresql://me@localhost/app?channel_binding=require"}, "'channel_binding', which would not be"),
        ({"url": "postgresql://me@localhost/app?sslmode=sure"}, "has sslmode=sure: it is one of disable, allow"),
        ({"url": "postgresql://me@localhost/app?sslmode=disable&sslmode=require"}, "'sslmode' twice"),
        ({"url": "postgresql://me@db.example/app?sslmode=prefer"}, "send everything to db.example unencrypted"),
        ({"url": "postgresql://me@/app?host=db.example&sslmode=disable"}, "send everything to db.example unencrypted"),
        ({"adress": "db.example"}, "unknown database setting 'adress'"),
    ],
)
def test_an_incomplete_address_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        DatabaseSettings.from_mapping(given)


@pytest.mark.parametrize(("text", "says"), [("", "is not set"), ("postgresql://x", "must be a JSON object")])
def test_an_environment_without_an_address_is_refused(text: str, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        DatabaseSettings.from_environment({"NIGHTSHIFT_DATABASE": text})


def test_the_environment_holds_the_settings_as_json() -> None:
    given = {"iam_region": "eu-central-1", "host": "db.example", "name": "app", "user": "jobs"}
    settings = DatabaseSettings.from_environment({"NIGHTSHIFT_DATABASE": json.dumps(given)})
    assert (settings.url.host, settings.url.port, settings.iam_region) == ("db.example", 5432, "eu-central-1")


def test_the_servers_certificate_and_name_are_verified_against_the_shipped_authorities() -> None:
    context = tls_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    authorities = str(context.get_ca_certs())
    assert "Amazon RDS eu-central-1 Root CA RSA2048 G1" in authorities
    assert "Amazon Root CA 1" in authorities
