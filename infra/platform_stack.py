"""What all packs share: database access and migration, dead-letter queue, alarm topics, file store, supervisor."""

from collections.abc import Sequence
from dataclasses import replace

from aws_cdk import CfnOutput, Stack, StackSynthesizer, Tags
from constructs import Construct

from infra.apis import calls, endpoints
from infra.code import Code
from infra.dashboard import dashboard
from infra.database import DatabaseAccess, NewCluster, existing_database, reading_access
from infra.packages import Packages
from infra.platform.alarms import alarm_on_the_whole
from infra.platform.dead_letters import dead_letter_queue
from infra.platform.desk import desk
from infra.platform.dispatcher import dispatcher
from infra.platform.files import file_store
from infra.platform.functions import PlatformFunctions
from infra.platform.keys import keys_of_data_keys
from infra.platform.migration import migration
from infra.platform.supervisor import supervisor
from infra.platform.topics import alarm_topics
from infra.platform.watch import watch
from infra.settings import NewDatabase, Settings
from nightshift.declaration import PLATFORM, Registration, stack_name


class PlatformStack(Stack):
    """`<Deployment>-Platform`. Its parts are made with the stack as their scope: each in a file of infra/platform/."""

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
            stack_name(PLATFORM, settings.name),
            synthesizer=synthesizer,
            description="Nightshift: what the packs of jobs share",
        )
        Tags.of(self).add("nightshift:pack", "platform")
        needs = frozenset().union(*(registration.job.needs for registration in jobs))
        self.settings = settings
        self.packages = packages
        code = Code(self, "Code", packages, settings.name)
        self.dead_letters = dead_letter_queue(self, settings.name)
        self.alarms = alarm_topics(self, settings)
        file_store(self, settings)
        self.keys = keys_of_data_keys(self, settings)
        apis = endpoints(calls(settings, jobs))
        new: NewCluster | None = None
        reading: DatabaseAccess | None
        if isinstance(settings.database, NewDatabase):
            new = NewCluster(
                self,
                "Database",
                settings.database,
                settings=settings,
                apis=apis,
            )
            self.database, reading = new.access, new.reading
        else:
            self.database = existing_database(self, settings, settings.database, apis, packages.ca_file)
            reading = reading_access(self.database, settings.database)
        first = PlatformFunctions(self, settings, code, self.database)
        migrated = migration(first, new, self.keys if "keys" in needs else ())
        functions = replace(first, migration=migrated)
        names = [registration.job.name for registration in jobs]
        watching = supervisor(functions, names, self.dead_letters, self.alarms.topics["critical"])
        sending = dispatcher(functions, self.alarms.topics["ordinary"])
        desk(functions, reading)
        alarm_on_the_whole(
            self,
            self.alarms,
            dead_letters=self.dead_letters,
            supervisor=watching,
            dispatcher=sending,
            watch=watch(functions),
        )
        dashboard(self, settings.name, jobs, self.dead_letters, watching[0].function)
        CfnOutput(self, "DeadLetterQueueUrl", value=self.dead_letters.queue_url)
