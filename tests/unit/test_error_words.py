"""How an error is told: in one line of printable text, without what the database quotes of a row."""

import re
import socket
import ssl
from typing import Any

import pg8000
import pytest
from sqlalchemy.exc import InterfaceError, ProgrammingError

from nightshift.database import describe
from nightshift.database.words import _BY_CLASS, _BY_CODE, connection_in_words
from nightshift.errors import MOST_BYTES, CapExceededError

SECRET = "ada@example.org"
NAMES = {"s": "shop", "t": "orders", "c": "email", "n": "orders_key", "d": "grade"}


def refused(code: str, **fields: str) -> ProgrammingError:
    said: dict[str, Any] = {"S": "ERROR", "C": code, "M": f'value "{SECRET}"', "D": SECRET, "H": SECRET, **fields}
    return ProgrammingError("select 1", None, pg8000.ProgrammingError(said))


@pytest.mark.parametrize("fields", [{}, NAMES, {"P": "8"}, {"W": f"unnamed portal with parameters: $1 = '{SECRET}'"}])
@pytest.mark.parametrize("code", [*_BY_CODE, *(f"{known}999" for known in _BY_CLASS), "AB123"])
def test_every_code_has_words_and_no_words_of_the_server(code: str, fields: dict[str, str]) -> None:
    words = describe(refused(code, **fields))

    assert words.endswith(f" (SQLSTATE {code})")
    assert re.match(r"[a-zA-Z]\S* \w", words)
    assert "ada" not in words
    assert len(words) < 250


def test_a_message_in_another_language_gives_the_name_all_the_same() -> None:
    german = refused("42P01", M="Relation »shop.orders« existiert nicht", P="15")
    assert describe(german).startswith("the table shop.orders does not exist: ")
    assert describe(refused("42501", M="keine Berechtigung für Tabelle orders")).startswith("this role lacks a right")


def test_a_deadlock_names_the_table() -> None:
    assert describe(refused("40P01", W='while deleting tuple (0,5) in relation "orders"')) == (
        "two sessions waited for each other's locks in orders (deadlock): try again (SQLSTATE 40P01)"
    )


def test_a_replica_that_stops_a_statement_says_so() -> None:
    stopped = refused("40001", M="canceling statement due to conflict with recovery")
    assert describe(stopped).startswith("the replica stopped the statement, because the primary has removed rows")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("one\ntwo\r\n  three", "ValueError: one two three"),
        ("a\x00b", "ValueError: a\\x00b"),
        ("a\ud800b", "ValueError: a\\ud800b"),
        ("\x1b[31mred", "ValueError: \\x1b[31mred"),
        ("grün 日本 🐘", "ValueError: grün 日本 🐘"),
    ],
)
def test_what_no_column_and_no_terminal_can_hold_is_escaped(text: str, told: str) -> None:
    assert describe(ValueError(text)) == told


@pytest.mark.parametrize("letter", ["x", "é", "🐘", "\x00"])
@pytest.mark.parametrize("shift", range(4))
def test_a_description_is_two_kilobytes_at_most(letter: str, shift: int) -> None:
    told = describe(ValueError("x" * shift + letter * 3_000))

    assert MOST_BYTES - 8 < len(told.encode()) <= MOST_BYTES
    assert told.endswith("…")
    assert "\ufffd" not in told


def test_a_driver_that_says_nothing_known_is_named() -> None:
    odd = InterfaceError("select 1", None, pg8000.InterfaceError("never heard of"))
    assert describe(odd) == "the database connection failed: InterfaceError"


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ssl.SSLCertVerificationError(1, "self-signed"), "the server's certificate cannot be verified: "),
        (ssl.SSLEOFError(8, "EOF occurred"), "the connection broke"),
        (ssl.SSLError(1, "wrong version number"), "the server and this machine agree on no TLS"),
        (socket.gaierror(-2, "Name or service not known"), "the name of this host is not known"),
        (TimeoutError("timed out"), "no answer in time: is there a firewall, or another network between?"),
        (ConnectionResetError(104, "Connection reset by peer"), "the connection broke"),
        (OSError(101, "Network is unreachable"), "network is unreachable"),
    ],
)
def test_a_connection_that_fails_is_told_by_its_cause(cause: OSError, words: str) -> None:
    driver = pg8000.InterfaceError("network error")
    driver.__cause__ = cause
    told = describe(InterfaceError("select 1", None, driver))
    assert told.startswith(f"the database connection failed: {words}")
    assert str(connection_in_words(cause)).startswith(words)


def test_a_reason_of_nightshift_s_own_is_told_without_the_name_of_a_class() -> None:
    assert describe(CapExceededError("more than its cap")) == "more than its cap"
    assert describe(CapExceededError()) == "CapExceededError:"
    assert describe(ValueError("out of luck")) == "ValueError: out of luck"
