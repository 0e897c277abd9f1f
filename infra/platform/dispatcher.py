"""Sends what the jobs have written into the outbox. No other function may send mails."""

from aws_cdk import Aws, Duration, aws_sns as sns, triggers

from infra.function import Function
from infra.nag import acknowledge
from infra.platform.functions import PlatformFunctions
from nightshift.environment import CAP_VARIABLE, PREFERENCES_VARIABLE, SENDER_VARIABLE, TOPIC_VARIABLE


def dispatcher(functions: PlatformFunctions, operators: sns.ITopic, migration: triggers.Trigger) -> Function:
    """Mails go out by SES from the one sender, notices to operators by the topic."""
    settings = functions.settings
    environment = {TOPIC_VARIABLE: operators.topic_arn, CAP_VARIABLE: str(settings.mails_a_day)}
    if settings.sender is not None:
        environment[SENDER_VARIABLE] = settings.sender
    if settings.preferences_url is not None:
        environment[PREFERENCES_VARIABLE] = settings.preferences_url
    made = functions.function(
        "dispatcher",
        about="Sends what is due in the outbox: mails by SES, notices to operators by SNS",
        timeout=Duration.seconds(50),  # done before the next minute's begins, so their paces do not add up
        environment=environment,
    )
    made.allow(["sns:Publish"], [operators.topic_arn])
    if settings.sender is not None:
        _allow_mails(made, settings.sender)
    functions.start_every_minute("dispatcher", made, migration)
    return made


def _allow_mails(function: Function, sender: str) -> None:
    identities = f"arn:{Aws.PARTITION}:ses:{Aws.REGION}:{Aws.ACCOUNT_ID}:identity"
    function.allow(
        ["ses:SendEmail"],
        [f"{identities}/{sender}", f"{identities}/{sender.partition('@')[2]}"],
        equal={"ses:FromAddress": sender},  # the domain's identity would allow any address of it
    )
    function.allow(["ses:GetAccount"], ["*"])
    acknowledge(function.role, "IAM5[Resource::*]", "the account's quota belongs to no resource")
