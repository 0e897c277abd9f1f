"""Parameters: what an operator may set, and how a value that cannot be meant is refused."""

from typing import Any

import pytest

from nightshift import DeclarationError, Parameter, SettingError
from nightshift.declaration.parameters import from_environment, resolve

RETENTION = Parameter("retention_days", 30, "days", minimum=7)


@pytest.mark.parametrize("value", [30, "30", " 30 "])
def test_a_whole_number_is_taken_as_number_or_as_text(value: object) -> None:
    assert RETENTION.parse(value) == 30


@pytest.mark.parametrize("value", [0, "0", "-3", -3, "soon", "", None, 7.5, True, [], "6"])
def test_a_value_that_cannot_be_meant_is_refused_with_the_floor(value: object) -> None:
    with pytest.raises(SettingError, match="retention_days must be a whole number of days, at least 7; got"):
        RETENTION.parse(value)


@pytest.mark.parametrize("value", [True, False])
def test_a_truth_is_no_number_even_where_0_and_1_are(value: bool) -> None:
    with pytest.raises(SettingError, match="must be a whole number of days, at least 0; got"):
        Parameter("retain_expired", 0, "days", minimum=0).parse(value)


@pytest.mark.parametrize(
    ("unit", "most", "says"), [("days", 36_525, "which is 100 years"), ("rows", 2**63 - 1, "at most")]
)
def test_a_unit_has_a_ceiling_of_its_own(unit: Any, most: int, says: str) -> None:
    parameter = Parameter("some", None, unit)
    assert parameter.parse(most) == most
    with pytest.raises(SettingError, match=says):
        parameter.parse(most + 1)


def test_a_maximum_is_part_of_the_remedy() -> None:
    with pytest.raises(SettingError, match="at least 1 and at most 100; got 101"):
        Parameter("max_share", 50, "percent", maximum=100).parse(101)


def test_a_default_below_its_own_floor_is_a_wrong_declaration() -> None:
    with pytest.raises(DeclarationError, match="the default of parameter retention_days is outside its own limits"):
        Parameter("retention_days", 3, "days", minimum=7)


def test_what_is_not_given_has_its_default_and_no_limit_means_no_value() -> None:
    limit = Parameter("max_rows", None, "rows")
    assert resolve([RETENTION, limit], {}) == {"retention_days": 30}
    assert resolve([RETENTION, limit], {"max_rows": "500"}) == {"retention_days": 30, "max_rows": 500}


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="unknown parameter 'retention'; this job has: retention_days"):
        resolve([RETENTION], {"retention": 30})


def test_the_deployments_parameters_come_from_the_environment() -> None:
    assert from_environment({"NIGHTSHIFT_PARAMETERS": '{"retention_days": 60}'}) == {"retention_days": 60}
    assert from_environment({}) == {}


@pytest.mark.parametrize("text", ["retention_days=60", "[60]", "60"])
def test_an_environment_that_holds_no_object_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="NIGHTSHIFT_PARAMETERS must be a JSON object"):
        from_environment({"NIGHTSHIFT_PARAMETERS": text})
