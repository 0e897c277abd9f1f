"""The functions that take personal data out of text and JSON."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

Redact = Callable[[Any], Any]


@pytest.fixture
def redact(database: Engine) -> Redact:
    def run(value: Any) -> Any:
        with database.connect() as connection:
            result = connection.scalar(
                text("select nightshift.redact(cast(:value as jsonb))::text"), {"value": json.dumps(value)}
            )
        return json.loads(result, parse_float=Decimal) if result is not None else None

    return run


@pytest.fixture
def mask(database: Engine) -> Callable[[str | None], str | None]:
    def run(value: str | None) -> str | None:
        with database.connect() as connection:
            masked: str | None = connection.scalar(
                text("select nightshift.mask_emails(cast(:value as text))"), {"value": value}
            )
        return masked

    return run


@pytest.mark.parametrize(
    "key",
    [
        *("email", "emailaddress", "name", "firstname", "lastname", "fullname", "username"),
        *("phone", "phonenumber", "mobile", "address", "street", "ip", "useragent", "ipaddress"),
        *("EMAIL", "firstName", "First Name", "last-name", "_full__name_", "USER_AGENT", "ip_address", "E-Mail"),
    ],
)
def test_a_personal_key_is_dropped_at_any_depth(redact: Redact, key: str) -> None:
    assert redact({key: "x", "kept": 1}) == {"kept": 1}
    assert redact({"a": [{"b": {key: {"deep": True}, "kept": 1}}]}) == {"a": [{"b": {"kept": 1}}]}


@pytest.mark.parametrize("key", ["names", "filename", "shipping", "recipient", "zip", "mobility", "email.sent", "имя"])
def test_a_key_that_only_contains_a_personal_one_stays(redact: Redact, key: str) -> None:
    assert redact({key: "x", "email": "y"}) == {key: "x"}


@pytest.mark.parametrize("value", [{"name": 1}, [{"name": 1}, {"name": 2}], {"a": {"name": {"b": 1}}}])
def test_what_was_emptied_stays_as_an_empty_object(redact: Redact, value: Any) -> None:
    assert redact(value) in ({}, [{}, {}], {"a": {}})


def test_addresses_inside_strings_are_masked_everywhere(redact: Redact) -> None:
    value = {"note": "Joe@Example.com wrote to ann@example.org", "list": ["x@y.de", ["ANN@EXAMPLE.ORG", 5]], "n": None}

    assert redact(value) == {"note": "[email] wrote to [email]", "list": ["[email]", ["[email]", 5]], "n": None}


def test_a_key_that_is_an_address_is_dropped_with_its_value(redact: Redact) -> None:
    assert redact({"joe@example.com": {"role": "admin"}, "changed": {"Ann@Example.org": 1, "b": 2}}) == {
        "changed": {"b": 2}
    }


def test_order_of_arrays_and_kinds_of_values_stay(redact: Redact) -> None:
    value = {"email": 0, "list": [3, "b", None, True, {"x": []}, {}, [], "", 1]}

    assert redact(value) == {"list": value["list"]}


@pytest.mark.parametrize("value", [None, True, 12, "free text", [], {}, [1, "two"]])
def test_values_that_hold_nothing_personal_come_back_as_they_were(redact: Redact, value: Any) -> None:
    assert redact(value) == value


def test_a_bare_string_is_masked(redact: Redact) -> None:
    assert redact("ask joe@example.com") == "ask [email]"


@pytest.mark.parametrize("number", ["12345678901234567890.12345678901234567890", "1.50", "1e-30", "-0.1"])
def test_numbers_keep_all_their_digits(database: Engine, number: str) -> None:
    with database.connect() as connection:
        kept, plain = connection.execute(
            text("select nightshift.redact(cast(:value as jsonb)) ->> 'n', cast(:value as jsonb) ->> 'n'"),
            {"value": f'{{"email": "x@y.de", "n": {number}}}'},
        ).one()

    assert kept == plain


def test_a_value_that_quotes_json_is_text_and_not_a_key(redact: Redact) -> None:
    assert redact({"body": '{"name": "Joe"}'}) == {"body": '{"name": "Joe"}'}


def test_deep_nesting_is_followed_to_the_end(redact: Redact) -> None:
    value: Any = {"name": "Joe", "kept": 1}
    expected: Any = {"kept": 1}
    for _ in range(200):
        value, expected = {"next": [value]}, {"next": [expected]}

    assert redact(value) == expected


def test_sql_null_stays_null(database: Engine) -> None:
    with database.connect() as connection:
        assert connection.execute(text("select nightshift.redact(null), nightshift.mask_emails(null)")).one() == (
            None,
            None,
        )


def test_redacting_twice_changes_nothing_more(redact: Redact) -> None:
    once = redact({"name": "Joe", "note": "joe@example.com", "list": [{"ip": "::1", "n": 1}]})

    assert redact(once) == once


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("joe@example.com", "[email]"),
        ("to <Joe.O'Brien+1@Sub.Example.CO.uk>, x@y.de.", "to <[email]>, [email]."),
        ("'joe@example.com'", "'[email]'"),
        ("mailto:joe@example.com?subject=x", "mailto:[email]?subject=x"),
        ("a@b.io;c@d.io", "[email];[email]"),
        ("müller@straße.de!", "[email]!"),
        ('"john doe"@example.com', "[email]"),
        ("bounce+joe=example.com@list.org", "[email]"),
        ("two\nlines joe@example.com\nmore", "two\nlines [email]\nmore"),
        ("lodash@4.17.21 @joe at me@localhost a@ @b.de", "lodash@4.17.21 @joe at me@localhost a@ @b.de"),
        ("", ""),
    ],
)
def test_mask_emails(mask: Callable[[str], str], value: str, masked: str) -> None:
    assert mask(value) == masked


def test_both_functions_are_immutable_and_may_run_in_parallel(database: Engine) -> None:
    with database.connect() as connection:
        rows = connection.execute(
            text(
                "select proname, provolatile, proparallel from pg_proc"
                " where pronamespace = 'nightshift'::regnamespace and proname in ('redact', 'mask_emails')"
                " order by proname"
            )
        ).all()

    assert rows == [("mask_emails", "i", "s"), ("redact", "i", "s")]
