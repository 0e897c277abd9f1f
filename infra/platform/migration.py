"""The database schema, brought up to date in every deployment before any rule can fire."""

from collections.abc import Sequence

from aws_cdk import Duration, triggers

from infra.database import NewCluster
from infra.platform.functions import PlatformFunctions
from infra.platform.keys import of_data_keys
from nightshift.environment import CONSOLE_USER_VARIABLE, KMS_KEY_VARIABLE, TABLES_VARIABLE, TAKE_OVER_VARIABLE

TIMEOUT = Duration.minutes(14)


def migration(functions: PlatformFunctions, new: NewCluster | None, keys: Sequence[str]) -> triggers.Trigger:
    """What everything else has to wait for. In a new cluster it also makes the functions' user, as the owner.

    keys: those of `keys_of_data_keys`, where a job needs them.
    """
    environment = {
        TABLES_VARIABLE: functions.settings.application_tables,
        **functions.deployment,
    }
    if functions.settings.take_over_from:
        environment[TAKE_OVER_VARIABLE] = functions.settings.take_over_from
    if keys:
        environment[KMS_KEY_VARIABLE] = " ".join(keys)
    if functions.settings.database.console_user is not None:
        environment[CONSOLE_USER_VARIABLE] = functions.settings.database.console_user
    if new is not None:
        environment["NIGHTSHIFT_DATABASE_OWNER"] = functions.stack.to_json_string(dict(new.owner.connection))
    migrate = functions.function(
        "migrate",
        about="Brings the database schema up to date and registers the jobs",
        timeout=TIMEOUT,
        environment=environment,
    )
    if keys:
        migrate.allow(["kms:GenerateDataKeyWithoutPlaintext"], [keys[0]], among=of_data_keys(functions.settings))
    if new is not None:
        for grant in new.owner.grants:
            migrate.role.add_to_principal_policy(grant)
    return triggers.Trigger(
        functions.stack,
        "Migration",
        handler=migrate.function,
        timeout=TIMEOUT,
        invocation_type=triggers.InvocationType.REQUEST_RESPONSE,
        execute_after=[new] if new is not None else [],
    )
