"""A CloudWatch dashboard of the deployed jobs, built from their declarations."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby

from aws_cdk import Duration, aws_cloudwatch as cloudwatch, aws_lambda as lambda_, aws_sqs as sqs
from constructs import Construct

from infra.alarms import own_metric
from nightshift.declaration import Job, Registration, function_name

WIDTH, HALF, HEIGHT = 24, 12, 6


def dashboard(
    scope: Construct,
    deployment: str,
    jobs: Sequence[Registration],
    dead_letters: sqs.Queue,
    supervisor: lambda_.Function,
) -> cloudwatch.Dashboard:
    """The dashboard `Nightshift`, or as the deployment is named.

    How the runs go, then errors and durations pack by pack, then what is what.
    """
    hour = Duration.hours(1)
    own = partial(own_metric, deployment)
    board = cloudwatch.Dashboard(
        scope, "Dashboard", dashboard_name=deployment.capitalize(), default_interval=Duration.days(3)
    )
    board.add_widgets(
        _graph("Runs", [own(f"Runs{ending}", "Sum", hour) for ending in ("Succeeded", "Failed", "Interrupted")]),
        _graph("Rows", [own(f"Rows{what}", "Sum", hour) for what in ("Changed", "Quarantined")]),
    )
    board.add_widgets(
        _graph("Giving way", [own(f"{what}Seconds", "Sum", hour) for what in ("Held", "Slowed")]),
    )
    board.add_widgets(
        _graph(
            "Waiting for somebody",
            [dead_letters.metric_approximate_number_of_messages_visible(statistic="Maximum")],
        ),
        _graph(
            "Supervisor",
            [
                supervisor.metric_invocations(),
                supervisor.metric_errors(),
                own("OldestOpenRunSeconds", "Maximum"),
            ],
        ),
    )
    for pack, members in groupby(jobs, key=lambda registration: registration.pack):
        names = [registration.job.name for registration in members]
        board.add_widgets(
            _graph(
                f"{pack}: failed attempts", [_of_function(deployment, "Errors", name, "Sum", hour) for name in names]
            ),
            _graph(
                f"{pack}: duration", [_of_function(deployment, "Duration", name, "Maximum", hour) for name in names]
            ),
        )
    rows = [f"| {job.job.name} | {job.pack} | {_when(job.job)} | {job.rule.splitlines()[0]} |" for job in jobs]
    table = "\n".join(["| job | pack | schedule (UTC) | rule |", "|---|---|---|---|", *rows])
    board.add_widgets(cloudwatch.TextWidget(markdown=table, width=WIDTH, height=max(HEIGHT, len(jobs))))
    return board


def _when(job: Job) -> str:
    return job.schedule if job.timetable.timezone is None else str(job.timetable)


def _graph(title: str, metrics: Sequence[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=HALF, height=HEIGHT)


def _of_function(deployment: str, metric: str, job: str, statistic: str, period: Duration) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/Lambda",
        metric_name=metric,
        dimensions_map={"FunctionName": function_name(job, deployment)},
        statistic=statistic,
        period=period,
        label=job,
    )
