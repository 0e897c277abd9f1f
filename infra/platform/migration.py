"""The database schema, brought up to date in every deployment before any rule can fire."""

from aws_cdk import Duration, aws_kms as kms, triggers

from infra.database import NewCluster
from infra.platform.functions import PlatformFunctions
from nightshift.environment import KMS_KEY_VARIABLE

TIMEOUT = Duration.minutes(14)


def migration(functions: PlatformFunctions, new: NewCluster | None, keys: kms.Key | None) -> triggers.Trigger:
    """What rules have to wait for. In a new cluster it also makes the functions' user, as the owner."""
    environment = {
        "NIGHTSHIFT_APPLICATION_TABLES": functions.settings.application_tables,
        **functions.deployment,
    }
    if keys is not None:
        environment[KMS_KEY_VARIABLE] = keys.key_arn
    if new is not None:
        environment["NIGHTSHIFT_DATABASE_OWNER"] = functions.stack.to_json_string(dict(new.owner.connection))
    migrate = functions.function(
        "migrate",
        about="Brings the database schema up to date and registers the jobs",
        timeout=TIMEOUT,
        environment=environment,
    )
    if keys is not None:
        migrate.allow(["kms:GenerateDataKeyWithoutPlaintext"], [keys.key_arn])
    if new is not None:
        assert new.owner.grant is not None
        migrate.role.add_to_principal_policy(new.owner.grant)
    return triggers.Trigger(
        functions.stack,
        "Migration",
        handler=migrate.function,
        timeout=TIMEOUT,
        invocation_type=triggers.InvocationType.REQUEST_RESPONSE,
        execute_after=[new] if new is not None else [],
    )
