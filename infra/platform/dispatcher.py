"""Sends what the jobs have written into the outbox. No other function may send mails."""

from aws_cdk import Aws, Duration, aws_events as events, aws_sns as sns

from infra.function import Function
from infra.nag import acknowledge
from infra.platform.functions import PlatformFunctions
from nightshift.environment import CAP_VARIABLE, PREFERENCES_VARIABLE, SENDER_VARIABLE, TOPIC_VARIABLE


def dispatcher(functions: PlatformFunctions, operators: sns.ITopic) -> tuple[Function, events.Rule]:
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
    return made, functions.start_every_minute("dispatcher", made)


def _allow_mails(function: Function, sender: str) -> None:
    # SES asks for the identity that it chooses (address, domain or a domain above it), in the sandbox for the
    # recipient's too, and for the configuration set that is the default. The sender fences them all in.
    account = f"arn:{Aws.PARTITION}:ses:{Aws.REGION}:{Aws.ACCOUNT_ID}"
    kinds = ("identity", "configuration-set")
    function.allow(["ses:SendEmail"], [f"{account}:{kind}/*" for kind in kinds], equal={"ses:FromAddress": sender})
    for kind in kinds:
        acknowledge(
            function.role,
            f"IAM5[Resource::arn:<AWS::Partition>:ses:<AWS::Region>:<AWS::AccountId>:{kind}/*]",
            "whatever identity and configuration set SES chooses for the one sender that the condition allows",
        )
    function.allow(["ses:GetAccount"], ["*"])
    acknowledge(function.role, "IAM5[Resource::*]", "the account's quota belongs to no resource")
