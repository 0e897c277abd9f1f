"""The alarms on Nightshift as a whole. Those of single jobs are made beside them, see infra/scheduled_job.py."""

from aws_cdk import Duration, aws_events as events, aws_sqs as sqs
from constructs import Construct

from infra.alarms import BREACHING, AlarmTopics, own_metric
from infra.function import Function

BACKLOG_SECONDS = 2 * 60 * 60


def alarm_on_the_whole(
    scope: Construct,
    topics: AlarmTopics,
    *,
    dead_letters: sqs.Queue,
    supervisor: tuple[Function, events.Rule],
    dispatcher: tuple[Function, events.Rule],
    watch: Function,
) -> None:
    """What goes wrong apart from a single job, and what no job would tell of itself."""
    name = topics.deployment
    minute, minutes = Duration.minutes(1), Duration.minutes(5)
    (watching, its_rule), (sending, rule_of_sending) = supervisor, dispatcher
    topics.alarm(
        scope,
        "dead-letters",
        severity="critical",
        # What arrives, and not what lies there: as long as one failure waits, a second one would page nobody.
        metric=dead_letters.metric_number_of_messages_sent(period=minute, statistic="Sum"),
        over=0,
        happened="A run failed for good, or an occurrence could not be delivered.",
        first="run `nightshift runs` to see which, and read its reason.",
        read_on="a-job-failed",
    )
    topics.alarm(
        scope,
        "dead-letters-waiting",
        severity="ordinary",
        metric=dead_letters.metric_approximate_number_of_messages_visible(
            period=Duration.hours(1), statistic="Maximum"
        ),
        over=0,
        periods=24,
        lasts=True,
        happened="A failure has waited for a day, and is gone from the queue after 14.",
        first="redrive what is mended with `nightshift redrive`, and purge the queue.",
        read_on="a-job-failed",
    )
    silent = topics.alarm(
        scope,
        "supervisor-silent",
        severity="critical",
        metric=watching.function.metric_invocations(period=minute, statistic="Sum"),
        over=1,
        below=True,
        periods=5,
        missing=BREACHING,
        lasts=True,
        happened="The supervisor has not run for five minutes: lost and interrupted runs are not noticed.",
        first=f"check that the rule {watching.name} is enabled and that Lambda is not throttled.",
        read_on="the-supervisor-is-silent",
    )
    silent.node.add_dependency(its_rule)  # before that it would page somebody in the first deployment
    topics.alarm(
        scope,
        "supervisor-failing",
        severity="critical",
        metric=watching.function.metric_errors(period=minute, statistic="Sum"),
        over=0,
        periods=3,
        lasts=True,
        happened="The supervisor has failed three minutes in a row: lost and interrupted runs are not settled.",
        first=f"read the log group /aws/lambda/{watching.name}; most often the database cannot be reached.",
        read_on="the-supervisor-fails",
    )
    topics.alarm(
        scope,
        "supervisor-hindered",
        severity="critical",
        metric=own_metric(name, "SupervisorHindered", "Sum", minute),
        over=0,
        periods=3,
        lasts=True,
        happened="The supervisor could not look after a job or a run three minutes in a row; the others go on.",
        first=f"search its log group /aws/lambda/{watching.name} for supervisor.hindered: job and reason.",
        read_on="the-supervisor-fails",
    )
    topics.alarm(
        scope,
        "backlog",
        severity="ordinary",
        metric=own_metric(name, "OldestOpenRunSeconds", "Maximum", minutes),
        over=BACKLOG_SECONDS,
        periods=3,
        lasts=True,
        happened="A run has been open for more than two hours.",
        first="run `nightshift status` to see which, and whether it moves.",
        read_on="a-run-does-not-end",
    )
    topics.alarm(
        scope,
        "missed-occurrences",
        severity="ordinary",
        metric=own_metric(name, "OccurrencesMissed", "Sum", minutes),
        over=0,
        happened="An occurrence was given up, as its job's policy has it: it came too late, or not at all.",
        first="run `nightshift runs` to see which, and run it by hand if it still matters.",
        read_on="a-job-did-not-run",
    )
    topics.alarm(
        scope,
        "anomalies",
        severity="ordinary",
        metric=own_metric(name, "Anomalies", "Sum", minutes),
        over=0,
        happened="A run was unusual for its job, or a job has had no success for longer than its rhythm.",
        first="run `nightshift runs` and look for slow, nothing or many beside an outcome, and `nightshift health`.",
        read_on="a-run-is-unusual",
    )
    mute = topics.alarm(
        scope,
        "dispatcher-silent",
        severity="critical",
        metric=sending.function.metric_invocations(period=minute, statistic="Sum"),
        over=1,
        below=True,
        periods=5,
        missing=BREACHING,
        lasts=True,
        happened="The dispatcher has not run for five minutes: mails, alerts and reports wait in the outbox.",
        first=f"check that the rule {sending.name} is enabled and that Lambda is not throttled.",
        read_on="the-dispatcher-is-silent",
    )
    mute.node.add_dependency(rule_of_sending)
    topics.alarm(
        scope,
        "dispatcher-failing",
        severity="ordinary",
        metric=sending.function.metric_errors(period=minute, statistic="Sum"),
        over=0,
        periods=5,
        lasts=True,
        happened="The dispatcher has failed five minutes in a row: notices wait in the outbox.",
        first=f"read the log group /aws/lambda/{sending.name}.",
        read_on="the-dispatcher-fails",
    )
    topics.alarm(
        scope,
        "mails-failed",
        severity="ordinary",
        metric=own_metric(name, "MailsFailed", "Sum", minutes),
        over=0,
        happened="A mail or notice could not be sent for good: SES refused it, or no try got through.",
        first="look at the rows of nightshift.notifications whose status is failed: each has its reason.",
        read_on="a-mail-has-failed",
    )
    topics.alarm(
        scope,
        "mails-unclear",
        severity="ordinary",
        metric=own_metric(name, "MailsUnknown", "Sum", minutes),
        over=0,
        happened="A mail may have been sent or not: its sender ended without a word. It is not sent again.",
        first="look at the rows of nightshift.notifications whose status is unknown.",
        read_on="a-mail-is-unclear",
    )
    topics.alarm(
        scope,
        "rows-quarantined",
        severity="ordinary",
        metric=own_metric(name, "RowsQuarantined", "Sum", minutes),
        over=0,
        happened="A run put rows aside that it could not process, and went on without them.",
        first="run `nightshift show` on that run: it names the rows and their errors.",
        read_on="rows-in-quarantine",
    )
    topics.alarm(
        scope,
        "watch-failing",
        severity="critical",
        metric=watch.function.metric_errors(period=minute, statistic="Sum"),
        over=0,
        periods=3,
        lasts=True,
        happened="Seen from outside its network, the deployment does not answer, or its supervisor has stopped.",
        first=f"read the log group /aws/lambda/{watch.name}: watch.failed says which.",
        read_on="the-watch-fails",
    )
