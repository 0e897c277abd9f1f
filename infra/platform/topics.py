"""The SNS topics that alarms go to, by severity, and who is written to from there."""

from collections.abc import Sequence

from aws_cdk import Aws, aws_iam as iam, aws_sns as sns, aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.alarms import AlarmTopics, Severity
from infra.settings import Settings


def alarm_topics(scope: Construct, settings: Settings) -> AlarmTopics:
    """The topics `nightshift-critical` and `nightshift-ordinary`."""
    return AlarmTopics(
        {
            "critical": _topic(scope, "critical", settings.alarms.critical),
            "ordinary": _topic(scope, "ordinary", settings.alarms.ordinary),
        },
        settings.operations_url,
    )


def _topic(scope: Construct, severity: Severity, addresses: Sequence[str]) -> sns.Topic:
    topic = sns.Topic(scope, f"{severity.capitalize()}Alarms", topic_name=f"nightshift-{severity}", enforce_ssl=True)
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
    for address in addresses:
        topic.add_subscription(subscriptions.EmailSubscription(address))
    return topic
