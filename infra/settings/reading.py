"""From the context of cdk.json, or from the command line, to the settings."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from infra.settings.deployment import Settings
from infra.settings.refusals import CONTEXT_KEY, lines
from nightshift.declaration import Registration
from nightshift.errors import SettingError


def read_settings(given: Any, registry: Mapping[str, Registration]) -> Settings:
    """The settings of the context key `nightshift`, as an object or, from `cdk -c`, as the JSON of one.

    Raises:
        SettingError: for each setting that cannot be meant a line that names it, what is wrong, and the remedy.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            raise SettingError(f"the context key {CONTEXT_KEY} is not JSON: {error}") from None
    try:
        return Settings.model_validate(given, context=registry)
    except ValidationError as error:
        raise SettingError("\n".join(lines(error))) from None
