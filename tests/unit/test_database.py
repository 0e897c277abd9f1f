"""Where the database is: three forms, each refused with the remedy when it is not whole; and TLS always verified."""

import json
import ssl
from typing import Any

import pytest

from nightshift import SettingError
from nightshift.database import DatabaseSettings
from nightshift.database.connection import tls_context


def test_a_url_always_means_our_driver() -> None:
    settings = DatabaseSettings.from_mapping({"url": "postgresql://me@db.example/app"})
    assert settings.url.drivername == "postgresql+pg8000"
    assert settings.socket is None


def test_a_socket_is_known_by_its_path() -> None:
    settings = DatabaseSettings.from_mapping({"url": "postgresql://me@/app?unix_sock=/run/.s.PGSQL.5432"})
    assert settings.socket == "/run/.s.PGSQL.5432"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no database address"),
        ({"host": "db.example", "name": "app"}, "no database address"),
        ({"iam_region": "eu-central-1", "host": "db.example"}, "needs the database's name, user"),
        ({"url": "not a url"}, "must look like postgresql://"),
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
