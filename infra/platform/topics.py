"""The SNS topics that alarms go to, by severity, and who is written to from there."""

from collections.abc import Sequence

from aws_cdk import Aws, aws_iam as iam, aws_sns as sns, aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.alarms import AlarmTopics, Severity
from infra.settings import Settings


def alarm_topics(scope: Construct, settings: Settings) -> AlarmTopics:
    """The topics `<deployment>-critical` and `<deployment>-ordinary`, or those that the settings name."""
    return AlarmTopics(
        {
            "critical": _topic(scope, settings.name, "critical", settings.alarms.critical),
            "ordinary": _topic(scope, settings.name, "ordinary", settings.alarms.ordinary),
        },
        settings.operations_url,
        settings.name,
    )


def _topic(scope: Construct, deployment: str, severity: Severity, targets: Sequence[str]) -> sns.ITopic:
    if any(target.startswith("arn:") for target in targets):
        (arn,) = targets
        return sns.Topic.from_topic_arn(scope, f"{severity.capitalize()}Alarms", arn)
    topic = sns.Topic(scope, f"{severity.capitalize()}Alarms", topic_name=f"{deployment}-{severity}", enforce_ssl=True)
    # Any policy of our own replaces the one under which the account's alarms may publish.
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            sid="AlarmsOfThisAccount",
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        )
    )
    for target in targets:
        https = target.startswith("https://")
        topic.add_subscription(
            subscriptions.UrlSubscription(target) if https else subscriptions.EmailSubscription(target)
        )
    return topic
