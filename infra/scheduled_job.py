"""One job on AWS: its function, its rule, its grants and, when it is critical, its alarm."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import (
    Aws,
    Duration,
    Stack,
    aws_cloudwatch as cloudwatch,
    aws_events as events,
    aws_events_targets as targets,
    aws_s3 as s3,
    aws_sqs as sqs,
)
from constructs import Construct

from infra.alarms import AlarmTopics
from infra.code import Code
from infra.database import DatabaseAccess, RdsDatabase
from infra.function import Function
from infra.nag import acknowledge
from infra.platform.keys import of_data_keys
from infra.settings import Settings
from nightshift.declaration import Job, Registration, Schedule, function_name, rule_expression
from nightshift.declaration.job import BACKUPS
from nightshift.environment import (
    DEPLOYMENT_VARIABLE,
    ENABLED_VARIABLE,
    FILES_PREFIX_VARIABLE,
    FILES_VARIABLE,
    FREEZES_VARIABLE,
    KMS_KEY_VARIABLE,
    PARAMETERS_VARIABLE,
    SCHEDULE_VARIABLE,
    STRAIN_VARIABLE,
    TOPIC_VARIABLE,
)

ON_OBJECTS = ("s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject")

DELIVERY_AGE = Duration.hours(1)
DELIVERY_RETRIES = 30
"""EventBridge tries this long to hand an occurrence to Lambda, and then tells the dead-letter queue. Short on purpose:
the supervisor finds a lost occurrence within minutes, and somebody should know of a rule that reaches nothing."""


@dataclass(frozen=True)
class Surroundings:
    """What the jobs of one stack share."""

    settings: Settings
    code: Code
    database: DatabaseAccess
    dead_letters: sqs.IQueue
    files: s3.IBucket
    keys: Sequence[str]
    """The ARNs of the KMS keys that data keys may be encrypted under."""
    alarms: AlarmTopics


class ScheduledJob(Construct):
    """Everything that a declaration asks for. Function and rule are both named `<deployment>-<job>`."""

    def __init__(self, scope: Construct, identity: str, registration: Registration, around: Surroundings) -> None:
        super().__init__(scope, identity)
        job = registration.job
        settings = around.settings.job(job.name)
        environment = {PARAMETERS_VARIABLE: json.dumps(dict(settings.parameters))}
        timetable = settings.timetable(job)
        if job.timezone or settings.timezone:
            given = {"schedule": timetable.expression, "timezone": timetable.timezone}
            environment[SCHEDULE_VARIABLE] = json.dumps(given)
        if not settings.enabled:
            environment[ENABLED_VARIABLE] = "false"
        if strain := around.settings.strain.changes | settings.strain.changes:
            environment[STRAIN_VARIABLE] = json.dumps(strain)
        if freezes := around.settings.deployment().freezes:
            environment[FREEZES_VARIABLE] = json.dumps([freeze.as_json() for freeze in freezes])
        bucket = around.settings.files_bucket if "application_files" in job.needs else None
        prefix = around.settings.files_prefix or ""
        if job.needs & {"files", "application_files"}:
            environment[FILES_VARIABLE] = bucket or around.files.bucket_name
        if bucket and prefix:
            environment[FILES_PREFIX_VARIABLE] = prefix
        if "keys" in job.needs:
            environment[KMS_KEY_VARIABLE] = " ".join(around.keys)
        rds = around.database.rds if "snapshots" in job.needs else None
        if rds is not None:
            environment |= rds.environment
        operators = around.alarms.topics["critical"].topic_arn
        if "operators" in job.needs:
            environment[TOPIC_VARIABLE] = operators
        if "deployment" in job.needs:
            environment[DEPLOYMENT_VARIABLE] = around.settings.deployment().as_json()
        self.function = Function(
            self,
            "Job",
            deployment=around.settings.name,
            name=job.name,
            handler=registration.handler,
            about=registration.rule.splitlines()[0][:256],
            code=around.code,
            database=around.database,
            timeout=Duration.seconds(int(job.timeout.total_seconds())),
            memory_mb=job.memory_mb,
            log_retention_days=settings.log_retention_days or around.settings.log_retention_days,
            environment=environment,
            dead_letters=around.dead_letters,
        )
        if bucket:
            self._allow_application_files(bucket, prefix)
        elif job.needs & {"files", "application_files"}:
            self._allow_files(around.files, job.own_folders, erase="application_files" in job.needs)
        if "keys" in job.needs:
            self.function.allow(["kms:Decrypt"], around.keys, among=of_data_keys(around.settings))
        if rds is not None:
            self._allow_snapshots(rds)
        if "operators" in job.needs:
            self.function.allow(["sns:Publish"], [operators])
        self.rule = events.Rule(
            self,
            "Rule",
            rule_name=function_name(job.name, around.settings.name),
            description=_about(job, timetable),
            schedule=events.Schedule.expression(rule_expression(timetable)),
            enabled=settings.enabled and around.settings.rules == "on",
            targets=[
                targets.LambdaFunction(
                    self.function.function,
                    dead_letter_queue=around.dead_letters,
                    max_event_age=DELIVERY_AGE,
                    retry_attempts=DELIVERY_RETRIES,
                )
            ],
        )
        self._alarms(around.alarms, job)

    def _alarms(self, alarms: AlarmTopics, job: Job) -> None:
        minutes = Duration.minutes(5)
        alarms.alarm(
            self,
            f"{job.name}-undelivered",
            severity="critical",
            metric=cloudwatch.Metric(
                namespace="AWS/Events",
                metric_name="FailedInvocations",
                dimensions_map={"RuleName": self.rule.rule_name},
                statistic="Sum",
                period=minutes,
            ),
            over=0,
            happened=f"EventBridge could not start the job {job.name}.",
            first="look at the newest message of the dead-letter queue: its attribute ERROR_CODE says why.",
            read_on="a-job-did-not-run",
        )
        if job.critical:
            alarms.alarm(
                self,
                f"{job.name}-failing",
                severity="critical",
                metric=self.function.function.metric_errors(period=minutes, statistic="Sum"),
                over=0,
                happened=f"An attempt of the critical job {job.name} failed. Lambda tries it twice more.",
                first=f"run `nightshift runs {job.name}` and read the reason of the latest run.",
                read_on="a-job-failed",
            )

    def _allow_snapshots(self, rds: RdsDatabase) -> None:
        self.function.allow(rds.actions, rds.resources)
        acknowledge(
            self.function.role,
            f"IAM5[Resource::arn:<AWS::Partition>:rds:<AWS::Region>:<AWS::AccountId>:{rds.snapshots}]",
            "the job declares that it needs snapshots: those of this database that bear Nightshift's name",
        )

    def _allow_files(self, files: s3.IBucket, folders: Sequence[str], *, erase: bool) -> None:
        """The job's folders of the file store; without any the whole store, and backups only to be read.

        erase: it deletes old versions, too.
        """
        actions = [*ON_OBJECTS, *(["s3:DeleteObjectVersion"] if erase else [])]
        places = [f"{folder}*" for folder in folders] or ["*"]
        self.function.allow(actions, [files.arn_for_objects(place) for place in places])
        if not folders:
            backups = files.arn_for_objects(f"{BACKUPS}*")
            self.function.deny([action for action in actions if action != "s3:GetObject"], [backups])
        # So that an absent object answers 404 and not 403.
        self.function.allow(["s3:ListBucket", *(["s3:ListBucketVersions"] if erase else [])], [files.bucket_arn])
        bucket = json.dumps(Stack.of(self).resolve(files.bucket_arn), separators=(",", ":"))
        for place in {*places, *(() if folders else [f"{BACKUPS}*"])}:
            acknowledge(
                self.function.role,
                f"IAM5[Resource::{bucket}/{place}]",
                "the job declares that it needs these folders of the file store, and of no other bucket",
            )

    def _allow_application_files(self, bucket: str, prefix: str) -> None:
        arn = f"arn:{Aws.PARTITION}:s3:::{bucket}"
        self.function.allow(["s3:GetObject", "s3:DeleteObject", "s3:DeleteObjectVersion"], [f"{arn}/{prefix}*"])
        # So that an absent object answers 404 and not 403.
        self.function.allow(["s3:ListBucket", "s3:ListBucketVersions"], [arn])
        acknowledge(
            self.function.role,
            f"IAM5[Resource::arn:<AWS::Partition>:s3:::{bucket}/{prefix}*]",
            "the job declares that it deletes files of the application: what lies under its prefix in the one bucket",
        )


def _about(job: Job, timetable: Schedule) -> str:
    """What the rule says of itself."""
    starts = f"Starts the job {job.name}"
    if timetable.timezone is None:
        return starts
    return f"{starts}: {timetable}. It fires whenever that can be in UTC, and the function drops what is not due"
