"""Looks over the ledger every minute."""

from collections.abc import Iterator, Sequence

from aws_cdk import Aws, Duration, aws_events as events, aws_iam as iam, aws_sns as sns, aws_sqs as sqs

from infra.function import Function
from infra.platform.functions import PlatformFunctions
from infra.settings import CONTEXT_KEY
from nightshift.declaration import function_name
from nightshift.environment import OPERATIONS_VARIABLE, TOPIC_VARIABLE
from nightshift.errors import SettingError

OF_AN_ARN = len("arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:") + len('"",')
"""Characters of a function's ARN before its name, at most, and those around it in a policy."""

IN_THE_ROLE = 5_000
"""How many characters of ARNs stand in the role itself: all its own policies have room for 10,240 together."""

IN_A_POLICY = 5_800
"""How many stand in a managed policy, which has room for 6,144."""

MOST_POLICIES = 10
"""How many managed policies a role takes."""


def supervisor(
    functions: PlatformFunctions, jobs: Sequence[str], dead_letters: sqs.Queue, operators: sns.ITopic
) -> tuple[Function, events.Rule]:
    """It invokes the functions of these jobs, reports what failed for good, and tells the operators of it."""
    made = functions.function(
        "supervisor",
        about="Looks over the ledger every minute: goes on with what was interrupted, settles what was lost",
        timeout=Duration.seconds(50),
        environment={
            "NIGHTSHIFT_DLQ_URL": dead_letters.queue_url,
            TOPIC_VARIABLE: operators.topic_arn,
            OPERATIONS_VARIABLE: functions.settings.operations_url,
            **functions.deployment,
        },
    )
    _allow_jobs(functions, made, jobs)
    made.allow(["sqs:SendMessage"], [dead_letters.queue_arn])
    made.allow(["sns:Publish"], [operators.topic_arn])
    return made, functions.start_every_minute("supervisor", made)


def _allow_jobs(functions: PlatformFunctions, made: Function, jobs: Sequence[str]) -> None:
    """One ARN for each job, by its name: the functions stand in stacks that are deployed after this one.

    Raises:
        SettingError: there are more jobs than a role has room for.
    """
    names = [function_name(job, functions.settings.name) for job in jobs]
    invoke = ["lambda:InvokeFunction"]
    if sum(OF_AN_ARN + len(name) for name in names) <= IN_THE_ROLE:
        made.allow(invoke, [_arn(name) for name in names])
        return
    portions = list(_portions(names))
    if len(portions) > MOST_POLICIES:
        raise SettingError(
            f"the supervisor may invoke {len(jobs)} jobs by name, and a role has no room for so many: "
            f"deploy some of the packs under another name, with {CONTEXT_KEY}.packs and {CONTEXT_KEY}.name"
        )
    for number, portion in enumerate(portions, start=1):
        statement = iam.PolicyStatement(actions=invoke, resources=[_arn(name) for name in portion])
        iam.ManagedPolicy(made, f"Jobs{number}", roles=[made.role], statements=[statement])


def _portions(names: Sequence[str]) -> Iterator[list[str]]:
    """The names in order, as many at a time as a managed policy has room for."""
    portion: list[str] = []
    for name in names:
        if sum(OF_AN_ARN + len(each) for each in (*portion, name)) > IN_A_POLICY:
            yield portion
            portion = []
        portion.append(name)
    yield portion


def _arn(name: str) -> str:
    return f"arn:{Aws.PARTITION}:lambda:{Aws.REGION}:{Aws.ACCOUNT_ID}:function:{name}"
