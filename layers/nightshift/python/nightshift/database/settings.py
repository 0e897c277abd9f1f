"""Where the database is, and how a function authenticates to it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from nightshift.environment import DATABASE_VARIABLE
from nightshift.errors import SettingError

DRIVER = "postgresql+pg8000"  # `postgresql://` alone means another driver in SQLAlchemy 2.1


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the database is, and how a function authenticates to it."""

    url: URL
    secret_arn: str | None = None
    iam_region: str | None = None
    ca_file: str | None = None
    tls: bool = True
    """False only for an address on this machine itself."""

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> "DatabaseSettings":
        """Read one of three forms:

        - `{"url": "postgresql://user@host/name"}`, without a password unless it comes from the operator's own shell;
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
            try:
                url = make_url(given["url"]).set(drivername=DRIVER)
            except ArgumentError:
                raise SettingError("the database url must look like postgresql://user@host:5432/name") from None
        elif "secret_arn" in given or "iam_region" in given:
            required = () if "secret_arn" in given else ("host", "name", "user")
            if missing := [key for key in required if not given.get(key)]:
                raise SettingError(f"IAM authentication needs the database's {', '.join(missing)}")
            url = URL.create(
                DRIVER,
                username=given.get("user"),
                host=given.get("host"),
                port=int(given.get("port", 5432)),
                database=given.get("name"),
            )
        else:
            raise SettingError("no database address: give a url, a secret_arn, or host, name, user and iam_region")
        return cls(url, given.get("secret_arn"), given.get("iam_region"), given.get("ca_file"))

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

    @property
    def socket(self) -> str | None:
        """The path of a local server's unix socket, which needs no TLS."""
        socket = self.url.query.get("unix_sock")
        return socket if isinstance(socket, str) else None
