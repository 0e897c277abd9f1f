"""The tables of docs/settings.md, made from the models. What stands around them there is written by hand."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from infra.settings.database import ExistingDatabase, NewDatabase
from infra.settings.deployment import Alarms, Settings
from infra.settings.jobs import JobSettings
from infra.settings.network import Network
from infra.settings.strain import FreezeSettings, Strain
from infra.settings.values import ByDefault, Group

TABLES: dict[str, type[Group]] = {
    "the deployment": Settings,
    "the strain": Strain,
    "a freeze": FreezeSettings,
    "a new database": NewDatabase,
    "an existing database": ExistingDatabase,
    "the network": Network,
    "the alarms": Alarms,
    "a job": JobSettings,
}
"""What the page says between `<!-- settings of …: made by `make docs` -->` and `<!-- end of settings -->`."""

_TABLE = re.compile(r"(<!-- settings of ([^:\n]+): [^\n]*-->\n).*?(<!-- end of settings -->)", re.DOTALL)


def settings_page(current: str, schema: Mapping[str, Any]) -> str:
    """The page with its tables made anew. `schema` is that of the settings, see `settings_schema`."""
    return _TABLE.sub(lambda found: f"{found[1]}{_table(TABLES[found[2]], schema)}\n{found[3]}", current)


def _table(group: type[Group], schema: Mapping[str, Any]) -> str:
    written = schema if group is Settings else schema["$defs"][group.__name__]
    rows = [
        f"| `{name}` | {_value(name, written['properties'][name])} "
        f"| {'required' if name in written.get('required', []) else _default(field)} | {field.description} |"
        for name, field in ((field.alias or name, field) for name, field in group.model_fields.items())
    ]
    return "\n".join(["| setting | value | default | meaning |", "|---|---|---|---|", *rows])


def _value(name: str, schema: Mapping[str, Any]) -> str:
    """What may stand there, in words."""
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema.get("type"):
        case "array":
            if "$ref" in schema["items"]:
                return f"list of [objects](#{name})"
            return f"list of {_value(name, schema['items']) if 'enum' in schema['items'] else 'texts'}"
        case "boolean":
            return "`true`, `false`"
        case "integer":
            return "whole number"
        case "number":
            return "number"
        case "string":
            return "text"
        case _:
            return f"[object](#{name})"


def _default(field: FieldInfo) -> str:
    for about in field.metadata:
        if isinstance(about, ByDefault):
            return about.words
    return "none" if field.default in (None, ()) else f"`{json.dumps(field.default).strip(chr(34))}`"
