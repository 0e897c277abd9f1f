"""What all packs share: database access and migration, dead-letter queue, alarm topics, file store, supervisor."""

from collections.abc import Sequence

from aws_cdk import (
    Aws,
    CfnOutput,
    Duration,
    RemovalPolicy,
    Stack,
    StackSynthesizer,
    Tags,
    aws_events as events,
    aws_events_targets as targets,
    aws_iam as iam,
    aws_kms as kms,
    aws_s3 as s3,
    aws_sns as sns,
    aws_sns_subscriptions as subscriptions,
    aws_sqs as sqs,
    triggers,
)
from constructs import Construct

from infra.alarms import BREACHING, AlarmTopics, Severity, own_metric
from infra.code import Code
from infra.dashboard import dashboard
from infra.database import NewCluster, existing_database
from infra.function import Function
from infra.nag import acknowledge
from infra.packages import Packages
from infra.settings import NewDatabase, Settings
from nightshift.declaration import Registration, function_name
from nightshift.environment import (
    CAP_VARIABLE,
    DEPLOYMENT_VARIABLE,
    KMS_KEY_VARIABLE,
    PREFERENCES_VARIABLE,
    SENDER_VARIABLE,
    TOPIC_VARIABLE,
)

MIGRATION_TIMEOUT = Duration.minutes(14)
FILES_EXPORT = "nightshift-files-bucket-arn"
KEYS_EXPORT = "nightshift-kms-key-arn"
BACKLOG_SECONDS = 2 * 60 * 60


class PlatformStack(Stack):
    """`Nightshift-Platform`."""

    def __init__(
        self,
        scope: Construct,
        settings: Settings,
        jobs: Sequence[Registration],
        packages: Packages,
        synthesizer: StackSynthesizer,
    ) -> None:
        super().__init__(
            scope,
            "Nightshift-Platform",
            synthesizer=synthesizer,
            description="Nightshift: what the packs of jobs share",
        )
        Tags.of(self).add("nightshift:pack", "platform")
        self.settings = settings
        self.packages = packages
        self._code = Code(self, "Code", packages)
        self._deployment = {DEPLOYMENT_VARIABLE: settings.deployment().as_json()}
        self.dead_letters = self._dead_letters()
        self.alarms = AlarmTopics(
            {
                "critical": self._topic("critical", settings.alarms.critical),
                "ordinary": self._topic("ordinary", settings.alarms.ordinary),
            },
            settings.operations_url,
        )
        self.files = self._files()
        self.keys = self._keys() if any("keys" in registration.job.needs for registration in jobs) else None
        owner = None
        if isinstance(settings.database, NewDatabase):
            cluster = NewCluster(
                self,
                "Database",
                settings.database,
                keys=self.keys is not None,
                mails=settings.sender is not None,
                snapshots=any("snapshots" in registration.job.needs for registration in jobs),
            )
            self.database, owner = cluster.access, cluster
        else:
            self.database = existing_database(self, settings.database, settings.network)
        migration = self._migration(owner)
        self.supervisor = self._supervisor(migration)
        self.dispatcher = self._dispatcher(migration)
        self._desk()
        self._alarm_on_the_whole()
        dashboard(self, jobs, self.dead_letters, self.supervisor.function)
        CfnOutput(self, "DeadLetterQueueUrl", value=self.dead_letters.queue_url)
        CfnOutput(self, "FilesBucketArn", value=self.files.bucket_arn, export_name=FILES_EXPORT)
        if self.keys is not None:
            CfnOutput(self, "KmsKeyArn", value=self.keys.key_arn, export_name=KEYS_EXPORT)

    def _dead_letters(self) -> sqs.Queue:
        """Occurrences that could not be delivered, and runs that failed for good, until somebody redrives them."""
        queue = sqs.Queue(
            self,
            "DeadLetters",
            queue_name="nightshift-dead-letters",
            retention_period=Duration.days(14),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
        )
        acknowledge(queue, "SQS3", "this is the dead-letter queue")
        queue.add_to_resource_policy(
            iam.PolicyStatement(
                sid="RulesOfNightshift",
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[queue.queue_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
                    "ArnLike": {
                        "aws:SourceArn": f"arn:{Aws.PARTITION}:events:{Aws.REGION}:{Aws.ACCOUNT_ID}:rule/nightshift-*"
                    },
                },
            )
        )
        return queue

    def _topic(self, severity: Severity, addresses: Sequence[str]) -> sns.Topic:
        topic = sns.Topic(self, f"{severity.capitalize()}Alarms", topic_name=f"nightshift-{severity}", enforce_ssl=True)
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

    def _files(self) -> s3.Bucket:
        """Archives, exports and reports. It outlives the stack."""
        bucket = s3.Bucket(
            self,
            "Files",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            versioned=True,
            removal_policy=RemovalPolicy.RETAIN,
            lifecycle_rules=[
                s3.LifecycleRule(
                    noncurrent_version_expiration=Duration.days(30),
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                )
            ],
        )
        acknowledge(bucket, "S1", "private to the functions; who wrote and deleted what stands in the ledger")
        return bucket

    def _keys(self) -> kms.Key:
        """Under which data keys are encrypted. It outlives the stack: nothing sealed could be opened without it."""
        return kms.Key(
            self,
            "Keys",
            description="Nightshift: encrypts the data keys of sealed columns",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.RETAIN,
        )

    def _migration(self, new: NewCluster | None) -> triggers.Trigger:
        """The database schema, brought up to date in every deployment before any rule can fire."""
        environment = {
            "NIGHTSHIFT_APPLICATION_TABLES": self.settings.application_tables,
            **self._deployment,
        }
        if self.keys is not None:
            environment[KMS_KEY_VARIABLE] = self.keys.key_arn
        if new is not None:
            environment["NIGHTSHIFT_DATABASE_OWNER"] = self.to_json_string(dict(new.owner.connection))
        migrate = Function(
            self,
            "Migrate",
            name="migrate",
            handler="functions.platform.migrate.handler",
            about="Brings the database schema up to date and registers the jobs",
            code=self._code,
            database=self.database,
            timeout=MIGRATION_TIMEOUT,
            memory_mb=512,
            log_retention_days=self.settings.log_retention_days,
            environment=environment,
        )
        if self.keys is not None:
            migrate.allow(["kms:GenerateDataKeyWithoutPlaintext"], [self.keys.key_arn])
        if new is not None:
            assert new.owner.grant is not None
            migrate.role.add_to_principal_policy(new.owner.grant)
        return triggers.Trigger(
            self,
            "Migration",
            handler=migrate.function,
            timeout=MIGRATION_TIMEOUT,
            invocation_type=triggers.InvocationType.REQUEST_RESPONSE,
            execute_after=[new] if new is not None else [],
        )

    def _supervisor(self, migration: triggers.Trigger) -> Function:
        """Looks over the ledger every minute."""
        supervisor = Function(
            self,
            "Supervisor",
            name="supervisor",
            handler="functions.platform.supervisor.handler",
            about="Looks over the ledger every minute: goes on with what was interrupted, settles what was lost",
            code=self._code,
            database=self.database,
            timeout=Duration.seconds(50),
            memory_mb=512,
            log_retention_days=self.settings.log_retention_days,
            environment={"NIGHTSHIFT_DLQ_URL": self.dead_letters.queue_url, **self._deployment},
        )
        functions = f"arn:{Aws.PARTITION}:lambda:{Aws.REGION}:{Aws.ACCOUNT_ID}:function:nightshift-*"
        supervisor.allow(["lambda:InvokeFunction"], [functions])
        supervisor.allow(["sqs:SendMessage"], [self.dead_letters.queue_arn])
        acknowledge(
            supervisor.role,
            "IAM5[Resource::arn:<AWS::Partition>:lambda:<AWS::Region>:<AWS::AccountId>:function:nightshift-*]",
            "it goes on with the runs of every job, whose functions are all named nightshift-*",
        )
        rule = events.Rule(
            self,
            "SupervisorRule",
            rule_name=function_name("supervisor"),
            description="Starts the supervisor",
            schedule=events.Schedule.expression("cron(* * * * ? *)"),
            # Not tried again: the next minute brings the next one.
            targets=[targets.LambdaFunction(supervisor.function, retry_attempts=0, max_event_age=Duration.minutes(1))],
        )
        rule.node.add_dependency(migration)
        return supervisor

    def _dispatcher(self, migration: triggers.Trigger) -> Function:
        """Sends what the jobs have written into the outbox. No other function may send mails."""
        settings = self.settings
        operators = self.alarms.topics["ordinary"]
        environment = {TOPIC_VARIABLE: operators.topic_arn, CAP_VARIABLE: str(settings.mails_a_day)}
        if settings.sender is not None:
            environment[SENDER_VARIABLE] = settings.sender
        if settings.preferences_url is not None:
            environment[PREFERENCES_VARIABLE] = settings.preferences_url
        dispatcher = Function(
            self,
            "Dispatcher",
            name="dispatcher",
            handler="functions.platform.dispatcher.handler",
            about="Sends what is due in the outbox: mails by SES, notices to operators by SNS",
            code=self._code,
            database=self.database,
            timeout=Duration.seconds(50),  # done before the next minute's begins, so their paces do not add up
            memory_mb=512,
            log_retention_days=settings.log_retention_days,
            environment=environment,
        )
        dispatcher.allow(["sns:Publish"], [operators.topic_arn])
        if settings.sender is not None:
            identities = f"arn:{Aws.PARTITION}:ses:{Aws.REGION}:{Aws.ACCOUNT_ID}:identity"
            domain = settings.sender.partition("@")[2]
            dispatcher.allow(
                ["ses:SendEmail"],
                [f"{identities}/{settings.sender}", f"{identities}/{domain}"],
                equal={"ses:FromAddress": settings.sender},  # the domain's identity would allow any address of it
            )
            dispatcher.allow(["ses:GetAccount"], ["*"])
            acknowledge(dispatcher.role, "IAM5[Resource::*]", "the account's quota belongs to no resource")
        rule = events.Rule(
            self,
            "DispatcherRule",
            rule_name=function_name("dispatcher"),
            description="Starts the dispatcher",
            schedule=events.Schedule.expression("cron(* * * * ? *)"),
            # Not tried again: the next minute brings the next one.
            targets=[targets.LambdaFunction(dispatcher.function, retry_attempts=0, max_event_age=Duration.minutes(1))],
        )
        rule.node.add_dependency(migration)
        return dispatcher

    def _desk(self) -> None:
        """For the command `nightshift`, as operators cannot reach the ledger from outside its network: who may only
        look is allowed to invoke the one function, who may change something the other as well.
        """
        for name, about in (
            ("console", "Answers an operator's question from the ledger"),
            ("control", "Changes the ledger for an operator: pauses, cancels, redrives"),
        ):
            Function(
                self,
                name.capitalize(),
                name=name,
                handler=f"functions.platform.{name}.handler",
                about=about,
                code=self._code,
                database=self.database,
                timeout=Duration.seconds(30),
                memory_mb=512,
                log_retention_days=self.settings.log_retention_days,
                environment=self._deployment,
            )

    def _alarm_on_the_whole(self) -> None:
        minute, minutes = Duration.minutes(1), Duration.minutes(5)
        self.alarms.alarm(
            self,
            "dead-letters",
            severity="critical",
            metric=self.dead_letters.metric_approximate_number_of_messages_visible(period=minute, statistic="Maximum"),
            over=0,
            happened="A run failed for good, or an occurrence could not be delivered.",
            first="run `nightshift runs` to see which, and read its reason.",
            read_on="a-job-failed",
        )
        self.alarms.alarm(
            self,
            "supervisor-silent",
            severity="critical",
            metric=self.supervisor.function.metric_invocations(period=minute, statistic="Sum"),
            over=1,
            below=True,
            periods=5,
            missing=BREACHING,
            happened="The supervisor has not run for five minutes: lost and interrupted runs are not noticed.",
            first="check that the rule nightshift-supervisor is enabled and that Lambda is not throttled.",
            read_on="the-supervisor-is-silent",
        )
        self.alarms.alarm(
            self,
            "supervisor-failing",
            severity="critical",
            metric=self.supervisor.function.metric_errors(period=minute, statistic="Sum"),
            over=0,
            periods=3,
            happened="The supervisor has failed three minutes in a row: lost and interrupted runs are not settled.",
            first="read the log group /aws/lambda/nightshift-supervisor; most often the database cannot be reached.",
            read_on="the-supervisor-fails",
        )
        self.alarms.alarm(
            self,
            "backlog",
            severity="ordinary",
            metric=own_metric("OldestOpenRunSeconds", "Maximum", minutes),
            over=BACKLOG_SECONDS,
            periods=3,
            happened="A run has been open for more than two hours.",
            first="run `nightshift status` to see which, and whether it moves.",
            read_on="a-run-does-not-end",
        )
        self.alarms.alarm(
            self,
            "missed-occurrences",
            severity="ordinary",
            metric=own_metric("OccurrencesMissed", "Sum", minutes),
            over=0,
            happened="An occurrence was given up, as its job's policy has it: it came too late, or not at all.",
            first="run `nightshift runs` to see which, and run it by hand if it still matters.",
            read_on="a-job-did-not-run",
        )
        self.alarms.alarm(
            self,
            "dispatcher-failing",
            severity="ordinary",
            metric=self.dispatcher.function.metric_errors(period=minute, statistic="Sum"),
            over=0,
            periods=5,
            happened="The dispatcher has failed five minutes in a row: notices wait in the outbox.",
            first="read the log group /aws/lambda/nightshift-dispatcher.",
            read_on="the-dispatcher-fails",
        )
        self.alarms.alarm(
            self,
            "mails-unclear",
            severity="ordinary",
            metric=own_metric("MailsUnknown", "Sum", minutes),
            over=0,
            happened="A mail may have been sent or not: its sender ended without a word. It is not sent again.",
            first="look at the rows of nightshift.notifications whose status is unknown.",
            read_on="a-mail-is-unclear",
        )
        self.alarms.alarm(
            self,
            "rows-quarantined",
            severity="ordinary",
            metric=own_metric("RowsQuarantined", "Sum", minutes),
            over=0,
            happened="A run put rows aside that it could not process, and went on without them.",
            first="run `nightshift show` on that run: it names the rows and their errors.",
            read_on="rows-in-quarantine",
        )
