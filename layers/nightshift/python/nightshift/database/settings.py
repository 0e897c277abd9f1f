"""Where the database is, and how a function authenticates to it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL

from nightshift.database.address import (
    DEFAULT_PORT,
    DRIVER,
    WITHOUT_TLS,
    is_loopback,
    read,
    read_whole,
    refuse_incomplete,
)
from nightshift.environment import DATABASE_VARIABLE
from nightshift.errors import SettingError


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the database is, and how a function authenticates to it."""

    url: URL
    secret_arn: str | None = None
    iam_region: str | None = None
    ca_file: str | None = None
    sslmode: str | None = None
    """As psql understands it, on a loopback address. Elsewhere TLS is always asked, and the server always verified."""

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> "DatabaseSettings":
        """Read one of three forms:

        - `{"url": "postgresql://user@host/name"}`, without a password unless it comes from the operator's own shell;
          with `secret_arn` the user and password come from there;
        - `{"secret_arn": …}`, an RDS secret of AWS Secrets Manager, with `host`, `port` and `name` where it lacks them;
        - `{"host": …, "port": …, "name": …, "user": …, "iam_region": …}`, with an IAM token in place of a password.

        `ca_file` replaces the RDS certificate bundle.

        Raises:
            SettingError: a key is missing, unknown or malformed.
        """
        known = {"url", "secret_arn", "host", "port", "name", "user", "iam_region", "ca_file"}
        if unknown := sorted(set(given) - known):
            raise SettingError(f"unknown database setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
        if "url" in given:
            address = read(given["url"])
            if not given.get("secret_arn"):
                refuse_incomplete(address.url)
            ca_file = given.get("ca_file", address.ca_file)
            return cls(address.url, given.get("secret_arn"), given.get("iam_region"), ca_file, address.sslmode)
        if "secret_arn" in given or "iam_region" in given:
            required = () if "secret_arn" in given else ("host", "name", "user")
            if missing := [key for key in required if not given.get(key)]:
                raise SettingError(f"IAM authentication needs the database's {', '.join(missing)}")
            url = URL.create(
                DRIVER,
                username=given.get("user"),
                host=given.get("host"),
                port=int(given.get("port", DEFAULT_PORT)),
                database=given.get("name"),
            )
        else:
            raise SettingError("no database address: give a url, a secret_arn, or host, name, user and iam_region")
        return cls(url, given.get("secret_arn"), given.get("iam_region"), given.get("ca_file"))

    @classmethod
    def from_address(cls, text: str) -> "DatabaseSettings":
        """Read an address that somebody has typed: postgresql://USER:PASSWORD@HOST:5432/DATABASE.

        Raises:
            SettingError: it is none, it names no user, host or database, or a file that it names is not there.
        """
        address = read_whole(text)
        return cls(address.url, ca_file=address.ca_file, sslmode=address.sslmode)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "DatabaseSettings":
        """The settings that the deployment gave this function.

        Raises:
            SettingError: the variable is missing or not one of the forms above.
        """
        text = environment.get(DATABASE_VARIABLE)
        if not text:
            raise SettingError(f"{DATABASE_VARIABLE} is not set: it says where the database is")
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise SettingError(f"{DATABASE_VARIABLE} must be a JSON object: {error}") from None
        return cls.from_mapping(given)

    def asks_tls(self, host: str | None) -> bool:
        """Whether a connection to this host is encrypted: always beyond this machine, on it as `sslmode` says."""
        return not (self.socket or (is_loopback(host) and self.sslmode in (None, *WITHOUT_TLS)))

    @property
    def place(self) -> str:
        """Where the server is: host and port, or the socket. Without user and password."""
        url = self.url
        host = f"[{url.host}]" if url.host and ":" in url.host else url.host or "localhost"
        return self.socket or f"{host}:{url.port or DEFAULT_PORT}"

    @property
    def socket(self) -> str | None:
        """The path of a local server's unix socket, which needs no TLS."""
        socket = self.url.query.get("unix_sock")
        return socket if isinstance(socket, str) else None
