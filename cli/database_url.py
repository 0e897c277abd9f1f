"""The address of a database, as an operator types it."""

import ssl
from typing import TYPE_CHECKING

from cli.refusals import RefusedError

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

    from nightshift.database import DatabaseSettings


def settings_of(text: str) -> "DatabaseSettings":
    """The settings of an address. Refuses one that cannot be meant, and never repeats its password."""
    from nightshift.database import DatabaseSettings
    from nightshift.errors import SettingError

    try:
        return DatabaseSettings.from_address(text)
    except SettingError as error:
        raise RefusedError(str(error)) from None


def place_of(settings: "DatabaseSettings") -> str:
    """Which database, and where, without user and password."""
    return f"{settings.url.database} at {settings.place}"


def why(error: "DBAPIError | OSError") -> str:
    """Why a database cannot be used, in words."""
    from sqlalchemy.exc import DBAPIError

    from nightshift.database import describe
    from nightshift.database.words import connection_in_words

    if isinstance(error, DBAPIError):
        return describe(error)
    reason = connection_in_words(error) or "the connection failed"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason += "; if its authority is none of Amazon RDS, name the authority's file: ?sslrootcert=FILE"
    return reason
