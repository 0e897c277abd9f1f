"""What all packs share: database access and migration, dead-letter queue, alarm topics, file store, supervisor."""

from collections.abc import Sequence

from aws_cdk import CfnOutput, Stack, StackSynthesizer, Tags
from constructs import Construct

from infra.code import Code
from infra.dashboard import dashboard
from infra.database import NewCluster, existing_database
from infra.packages import Packages
from infra.platform.alarms import alarm_on_the_whole
from infra.platform.dead_letters import dead_letter_queue
from infra.platform.desk import desk
from infra.platform.dispatcher import dispatcher
from infra.platform.files import file_store
from infra.platform.functions import PlatformFunctions
from infra.platform.keys import key_of_data_keys
from infra.platform.migration import migration
from infra.platform.supervisor import supervisor
from infra.platform.topics import alarm_topics
from infra.settings import NewDatabase, Settings
from nightshift.declaration import Registration


class PlatformStack(Stack):
    """`Nightshift-Platform`. Its parts are made with the stack as their scope: each in a file of infra/platform/."""

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
        needs = frozenset().union(*(registration.job.needs for registration in jobs))
        self.settings = settings
        self.packages = packages
        code = Code(self, "Code", packages)
        self.dead_letters = dead_letter_queue(self)
        self.alarms = alarm_topics(self, settings)
        file_store(self)
        keys = key_of_data_keys(self) if "keys" in needs else None
        new = None
        if isinstance(settings.database, NewDatabase):
            new = NewCluster(
                self,
                "Database",
                settings.database,
                keys=keys is not None,
                mails=settings.sender is not None,
                snapshots="snapshots" in needs,
            )
            self.database = new.access
        else:
            self.database = existing_database(self, settings.database, settings.network)
        functions = PlatformFunctions(self, settings, code, self.database)
        migrated = migration(functions, new, keys)
        watching = supervisor(functions, self.dead_letters, migrated)
        sending = dispatcher(functions, self.alarms.topics["ordinary"], migrated)
        desk(functions)
        alarm_on_the_whole(self, self.alarms, dead_letters=self.dead_letters, supervisor=watching, dispatcher=sending)
        dashboard(self, jobs, self.dead_letters, watching.function)
        CfnOutput(self, "DeadLetterQueueUrl", value=self.dead_letters.queue_url)
