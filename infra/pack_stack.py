"""The jobs of one pack. Used once for each pack, so that a team deploys only what it uses."""

from collections.abc import Sequence

from aws_cdk import Stack, StackSynthesizer, Tags, aws_s3 as s3, aws_sqs as sqs
from constructs import Construct

from infra.code import Code
from infra.platform_stack import PlatformStack
from infra.scheduled_job import ScheduledJob, Surroundings
from infra.shared import FILES, FILES_NAME, KEYS, shared
from nightshift.declaration import Registration, stack_name


class PackStack(Stack):
    """`<Deployment>-<Pack>`. Deployed after the platform, so that no rule fires before the database is migrated."""

    def __init__(
        self,
        scope: Construct,
        pack: str,
        jobs: Sequence[Registration],
        platform: PlatformStack,
        synthesizer: StackSynthesizer,
    ) -> None:
        super().__init__(
            scope,
            stack_name(pack, platform.settings.name),
            synthesizer=synthesizer,
            description=f"Nightshift: the jobs of the pack {pack}",
        )
        self.add_stack_dependency(platform, "rules must not fire before the database is migrated")
        Tags.of(self).add("nightshift:pack", pack)
        around = Surroundings(
            settings=platform.settings,
            code=Code(self, "Code", platform.packages, platform.settings.name),
            database=platform.database,
            # Through its ARN: the CDK would add a statement to the queue's policy for every rule, and SQS takes 20.
            dead_letters=sqs.Queue.from_queue_arn(self, "DeadLetters", platform.dead_letters.queue_arn),
            files=s3.Bucket.from_bucket_attributes(
                self, "Files", bucket_arn=shared(platform, FILES), bucket_name=shared(platform, FILES_NAME)
            ),
            keys=[*([given] if (given := platform.settings.kms_key_arn) else []), shared(platform, KEYS)],
            alarms=platform.alarms,
        )
        for registration in jobs:
            construct = "".join(part.capitalize() for part in registration.job.name.split("-"))
            ScheduledJob(self, construct, registration, around)
