"""The environment variables that the deployment writes and functions read."""

import os
from collections.abc import Mapping

DEFAULT_NAME = "nightshift"
"""The name of a deployment that has been given none."""

NAME_VARIABLE = "NIGHTSHIFT_NAME"
"""Environment variable, optional: the deployment's name, with which every name on AWS begins."""


def deployment_name(environment: Mapping[str, str] = os.environ) -> str:
    """The name of the deployment that this function belongs to."""
    return environment.get(NAME_VARIABLE) or DEFAULT_NAME


PARAMETERS_VARIABLE = "NIGHTSHIFT_PARAMETERS"
"""Environment variable with the settings of the deployed job: a JSON object of parameter names and numbers."""

DEPLOYMENT_VARIABLE = "NIGHTSHIFT_DEPLOYMENT"
"""Environment variable: `{"packs": […], "jobs": {name: {"enabled": false, "schedule": …, "timezone": …, …}}}`."""

SCHEDULE_VARIABLE = "NIGHTSHIFT_SCHEDULE"
"""Environment variable with the schedule of a deployed job that has a time zone, in its declaration or by the settings:
`{"schedule": "cron(…)", "timezone": "Europe/Berlin"}`. Its rule fires too often, and the function drops the rest."""

DATABASE_VARIABLE = "NIGHTSHIFT_DATABASE"
"""Environment variable that says where the database is: a JSON object, see `DatabaseSettings.from_mapping`."""

FILES_VARIABLE = "NIGHTSHIFT_FILES_BUCKET"
"""Environment variable with the bucket's name, given to functions whose job declares that it needs files: Nightshift's
own bucket, or the application's."""

FILES_PREFIX_VARIABLE = "NIGHTSHIFT_FILES_PREFIX"
"""Environment variable, optional: what the keys of that bucket's objects begin with, where it is the application's."""

INSTANCE_VARIABLE = "NIGHTSHIFT_RDS_INSTANCE"
CLUSTER_VARIABLE = "NIGHTSHIFT_RDS_CLUSTER"
"""Environment variables with the identifier of the database's instance, or of its Aurora cluster. Neither: no RDS."""

CONSOLE_USER_VARIABLE = "NIGHTSHIFT_CONSOLE_USER"
"""Environment variable, optional: the user of the database as whom the console reads the ledger."""

CONSOLE_VARIABLE = "NIGHTSHIFT_CONSOLE"
"""Environment variable: the name of the console's function, for whoever asks it."""

PING_VARIABLE = "NIGHTSHIFT_PING_URL"
"""Environment variable, optional: the monitor outside the account that hears of every look."""

OPERATIONS_VARIABLE = "NIGHTSHIFT_OPERATIONS_URL"
"""Environment variable: where the operations guide stands."""

TABLES_VARIABLE = "NIGHTSHIFT_APPLICATION_TABLES"
"""Environment variable: `create` where the migration makes the application's tables as well, else `existing`."""

TAKE_OVER_VARIABLE = "NIGHTSHIFT_TAKE_OVER_FROM"
"""Environment variable, optional: the deployment whose database the migration may take over."""

KMS_KEY_VARIABLE = "NIGHTSHIFT_KMS_KEY"
"""Environment variable with the ARN of the KMS key, given to functions whose job declares that it needs keys."""

SENDER_VARIABLE = "NIGHTSHIFT_SENDER"
"""Environment variable: the address that mails come from, an identity that SES has verified."""

TOPIC_VARIABLE = "NIGHTSHIFT_OPS_TOPIC"
"""Environment variable: the ARN of the SNS topic that operators read."""

CAP_VARIABLE = "NIGHTSHIFT_MAILS_A_DAY"
"""Environment variable: how many ordinary mails one user may get within 24 hours."""

PREFERENCES_VARIABLE = "NIGHTSHIFT_PREFERENCES_URL"
"""Environment variable, optional: the page of the application where people choose what they are sent."""

ENABLED_VARIABLE = "NIGHTSHIFT_ENABLED"
"""Environment variable: `false` for a job that the settings disable. It then runs for nobody, by hand neither."""

STRAIN_VARIABLE = "NIGHTSHIFT_STRAIN"
"""Environment variable with the limits on strain that differ from the defaults: a JSON object, see `Limits`."""

FREEZES_VARIABLE = "NIGHTSHIFT_FREEZES"
"""Environment variable with the freezes of the deployment: a JSON list, see `Freeze.read`."""
