"""The jobs of one pack. Used once for each pack, so that a team deploys only what it uses."""

from collections.abc import Sequence

from aws_cdk import Duration, Fn, Stack, StackSynthesizer, Tags
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.code import Code
from infra.platform_stack import FILES_EXPORT, PlatformStack
from infra.scheduled_job import ScheduledJob, Surroundings
from nightshift.registry import Registration

METRICS_IN_AN_ALARM = 10
"""CloudWatch adds up this many metrics in one alarm, and no more."""


class PackStack(Stack):
    """`Nightshift-<Pack>`. Deployed after the platform, so that no rule fires before the database is migrated."""

    def __init__(
        self,
        scope: Construct,
        pack: str,
        jobs: Sequence[Registration],
        platform: PlatformStack,
        synthesizer: StackSynthesizer,
    ) -> None:
        super().__init__(
            scope,
            f"Nightshift-{pack.capitalize()}",
            synthesizer=synthesizer,
            description=f"Nightshift: the jobs of the pack {pack}",
        )
        self.add_stack_dependency(platform, "rules must not fire before the database is migrated")
        Tags.of(self).add("nightshift:pack", pack)
        around = Surroundings(
            settings=platform.settings,
            code=Code(self, "Code", platform.packages),
            database=platform.database,
            # Through its ARN: the CDK would add a statement to the queue's policy for every rule, and SQS takes 20.
            dead_letters=sqs.Queue.from_queue_arn(self, "DeadLetters", platform.dead_letters.queue_arn),
            files=s3.Bucket.from_bucket_arn(self, "Files", Fn.import_value(FILES_EXPORT)),
            alarms=platform.alarms,
        )
        for registration in jobs:
            construct = "".join(part.capitalize() for part in registration.job.name.split("-"))
            ScheduledJob(self, construct, registration, around)
        for start in range(0, len(jobs), METRICS_IN_AN_ALARM):
            self._alarm_on_delivery(
                pack, start // METRICS_IN_AN_ALARM, jobs[start : start + METRICS_IN_AN_ALARM], platform
            )

    def _alarm_on_delivery(self, pack: str, number: int, jobs: Sequence[Registration], platform: PlatformStack) -> None:
        failed = {
            f"m{index}": cloudwatch.Metric(
                namespace="AWS/Events",
                metric_name="FailedInvocations",
                dimensions_map={"RuleName": f"nightshift-{registration.job.name}"},
                statistic="Sum",
            )
            for index, registration in enumerate(jobs)
        }
        platform.alarms.alarm(
            self,
            f"{pack}-rules-failing" + (f"-{number + 1}" if number else ""),
            severity="critical",
            metric=cloudwatch.MathExpression(
                expression="SUM(METRICS())",
                using_metrics=failed,
                label=f"Undelivered occurrences of {pack}",
                period=Duration.minutes(5),
            ),
            over=0,
            happened=f"EventBridge could not start a job of the pack {pack}.",
            first="look at the newest message of the dead-letter queue; its attribute ERROR_CODE says why.",
            read_on="a-job-did-not-run",
        )
