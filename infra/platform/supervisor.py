"""Looks over the ledger every minute."""

from aws_cdk import Aws, Duration, aws_events as events, aws_sqs as sqs

from infra.function import Function
from infra.nag import acknowledge
from infra.platform.functions import PlatformFunctions


def supervisor(functions: PlatformFunctions, dead_letters: sqs.Queue) -> tuple[Function, events.Rule]:
    """It invokes the functions of jobs, and reports to the dead-letter queue what failed for good."""
    made = functions.function(
        "supervisor",
        about="Looks over the ledger every minute: goes on with what was interrupted, settles what was lost",
        timeout=Duration.seconds(50),
        environment={"NIGHTSHIFT_DLQ_URL": dead_letters.queue_url, **functions.deployment},
    )
    jobs = f"arn:{Aws.PARTITION}:lambda:{Aws.REGION}:{Aws.ACCOUNT_ID}:function:nightshift-*"
    made.allow(["lambda:InvokeFunction"], [jobs])
    made.allow(["sqs:SendMessage"], [dead_letters.queue_arn])
    acknowledge(
        made.role,
        "IAM5[Resource::arn:<AWS::Partition>:lambda:<AWS::Region>:<AWS::AccountId>:function:nightshift-*]",
        "it goes on with the runs of every job, whose functions are all named nightshift-*",
    )
    return made, functions.start_every_minute("supervisor", made)
