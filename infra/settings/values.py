"""What the settings are made of: a JSON object, and the kinds of value that stand in several of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from infra.settings.refusals import in_words

LOG_RETENTION = {
    1: "ONE_DAY",
    3: "THREE_DAYS",
    5: "FIVE_DAYS",
    7: "ONE_WEEK",
    14: "TWO_WEEKS",
    30: "ONE_MONTH",
    60: "TWO_MONTHS",
    90: "THREE_MONTHS",
    120: "FOUR_MONTHS",
    150: "FIVE_MONTHS",
    180: "SIX_MONTHS",
    365: "ONE_YEAR",
    400: "THIRTEEN_MONTHS",
    545: "EIGHTEEN_MONTHS",
    731: "TWO_YEARS",
    1827: "FIVE_YEARS",
    3653: "TEN_YEARS",
}
"""The days that CloudWatch Logs takes, and the CDK's names for them."""


class Group(BaseModel):
    """One JSON object of the settings. A key that it does not know is refused; `null` is the same as left out."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, given: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        if given is None:
            given = {}
        if isinstance(given, Mapping):
            given = {key: value for key, value in given.items() if value is not None or key not in cls.model_fields}
        try:
            return read(given)
        except ValidationError as error:
            raise in_words(error, cls.model_fields) from None


@dataclass(frozen=True)
class ByDefault:
    """What holds when a setting is left out, in words: where its default is no plain value."""

    words: str


@dataclass(frozen=True)
class Form:
    """A text of one form. `refusal` goes on after the setting's path, with `{got}` for what was given."""

    pattern: str
    refusal: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}

    def _check(self, given: str) -> str:
        if not re.fullmatch(self.pattern, given):
            raise ValueError(self.refusal.format(got=repr(given)))
        return given


def _not_empty(given: str) -> str:
    if not given.strip():
        raise ValueError("is empty: give a text or leave it out")
    return given


def _of_cloudwatch(days: int) -> int:
    if days not in LOG_RETENTION:
        known = ", ".join(str(number) for number in LOG_RETENTION)
        raise ValueError(f"must be one that CloudWatch has ({known}); got {days}")
    return days


Text = Annotated[str, AfterValidator(_not_empty)]
Email = Annotated[Text, Form(r"[^@\s]+@[^@\s]+\.[^@\s]+", ": {got} is no e-mail address, like oncall@example.com")]
LogRetention = Annotated[int, AfterValidator(_of_cloudwatch), Field(json_schema_extra={"enum": [*LOG_RETENTION]})]
"""Days."""

LIST = Field(strict=False)
"""Beside a tuple: JSON has only lists."""
