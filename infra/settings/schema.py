"""The JSON schema of cdk.json, by which an editor completes and checks the settings while they are written."""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from infra.settings.deployment import Settings
from infra.settings.refusals import CONTEXT_KEY
from nightshift.declaration import Parameter, Registration, packs

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest that editors know well."""


class _Schema(GenerateJsonSchema):
    """Without the names of classes, and without `null`, which says no more than leaving a setting out."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        written = super().model_schema(schema)
        del written["title"]
        for name in written.get("required", []):
            written["properties"][name].pop("default", None)
        return written

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        return {key: value for key, value in written.items() if (key, value) != ("default", None)}


def settings_schema(registry: Mapping[str, Registration]) -> dict[str, Any]:
    """What may stand under the context key `nightshift`: the models, with the packs, jobs and parameters that exist."""
    schema = Settings.model_json_schema(schema_generator=_Schema)
    schema["properties"]["packs"]["items"] = {"enum": [*packs()]}
    jobs = schema["properties"]["jobs"]
    jobs["properties"] = {name: _job(registration) for name, registration in registry.items()}
    jobs["additionalProperties"] = False
    return schema


def cdk_json_schema(registry: Mapping[str, Registration]) -> dict[str, Any]:
    """The schema of the whole file. What the CDK itself reads there it leaves alone."""
    settings = settings_schema(registry)
    definitions = settings.pop("$defs")
    context = {"type": "object", "properties": {CONTEXT_KEY: settings}}
    return {
        "$schema": DIALECT,
        "$comment": "Made by `make docs` from infra/settings/ and the declarations in functions/.",
        "type": "object",
        "properties": {"context": context},
        "$defs": definitions,
    }


def _job(registration: Registration) -> dict[str, Any]:
    job = registration.job
    return {
        "description": " ".join(registration.rule.split("\n\n")[0].split()),
        "allOf": [{"$ref": "#/$defs/JobSettings"}],
        "properties": {
            "schedule": {"default": job.schedule},
            **({"timezone": {"default": job.timezone}} if job.timezone else {}),
            "parameters": {
                "properties": {parameter.name: _parameter(parameter) for parameter in job.all_parameters},
                "additionalProperties": False,
            },
        },
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    limits = {"minimum": parameter.minimum, "maximum": parameter.maximum, "default": parameter.default}
    about = f"{parameter.unit}: {parameter.about}" if parameter.about else parameter.unit
    return {
        "type": "integer",
        **{name: limit for name, limit in limits.items() if limit is not None},
        "description": about,
    }
