"""Alarms: each says what happened, what to do first and where to read on, and what missing data means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aws_cdk import Duration, aws_cloudwatch as cloudwatch, aws_cloudwatch_actions as actions, aws_sns as sns
from constructs import Construct

from nightshift.declaration import function_name
from nightshift.telemetry import NAMESPACE

Severity = Literal["critical", "ordinary"]

NOT_BREACHING = cloudwatch.TreatMissingData.NOT_BREACHING
BREACHING = cloudwatch.TreatMissingData.BREACHING


@dataclass(frozen=True)
class AlarmTopics:
    """Where alarms go, by severity, and where the operations guide stands."""

    topics: Mapping[Severity, sns.ITopic]
    operations_url: str
    deployment: str
    """The deployment's name."""

    def alarm(
        self,
        scope: Construct,
        name: str,
        *,
        severity: Severity,
        metric: cloudwatch.IMetric,
        over: float,
        missing: cloudwatch.TreatMissingData = NOT_BREACHING,
        below: bool = False,
        periods: int = 1,
        lasts: bool = False,
        happened: str,
        first: str,
        read_on: str,
    ) -> cloudwatch.Alarm:
        """An alarm named `<deployment>-<name>` that fires when the metric is over a number, or with `below` under it.

        lasts: it tells of a state, whose end is told as well. Of a single event, like a failed attempt, a quiet minute
            says nothing; and with a first deployment every alarm begins by being well.
        `read_on` is the anchor of a section of the operations guide.
        """
        comparison = cloudwatch.ComparisonOperator
        alarm = cloudwatch.Alarm(
            scope,
            "".join(part.capitalize() for part in name.split("-")) + "Alarm",
            alarm_name=function_name(name, self.deployment),
            alarm_description=f"{happened} First: {first} {self.operations_url}#{read_on}",
            metric=metric,
            threshold=over,
            comparison_operator=comparison.LESS_THAN_THRESHOLD if below else comparison.GREATER_THAN_THRESHOLD,
            evaluation_periods=periods,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(actions.SnsAction(self.topics[severity]))
        if lasts:
            alarm.add_ok_action(actions.SnsAction(self.topics[severity]))
        return alarm


def own_metric(deployment: str, name: str, statistic: str, period: Duration | None = None) -> cloudwatch.Metric:
    """A metric that the deployment's functions write themselves, see `nightshift.telemetry`."""
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        dimensions_map={"service": deployment},
        statistic=statistic,
        period=period or Duration.minutes(5),
    )
