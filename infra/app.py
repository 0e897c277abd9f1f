"""The whole app: settings in, stacks out."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import App, CliCredentialsStackSynthesizer, DefaultStackSynthesizer, StackSynthesizer, Validations
from cdk_nag import AwsSolutionsChecks

from infra.apis import calls, endpoints
from infra.pack_stack import PackStack
from infra.packages import BuildError, Packages
from infra.platform_stack import PlatformStack
from infra.settings import CONTEXT_KEY, ExistingDatabase, Settings, read_settings
from nightshift.declaration import Registration, registry
from nightshift.errors import DeclarationError, SettingError

FLAGS = {
    "@aws-cdk/core:defaultCrossStackReferences": "weak",
    "@aws-cdk/core:validateAgainstDefaultRules": True,
    "@aws-cdk/aws-iam:minimizePolicies": True,
    "@aws-cdk/aws-lambda:recognizeLayerVersion": True,
}
"""How the CDK is to behave. They stand here and not in cdk.json, which is the project's own: an upgrade may bring new
ones. What cdk.json says of one of them comes first all the same.
"""

REFUSED = 2
BROKEN = 1


def main(context: Mapping[str, Any] | None = None, outdir: str | None = None) -> int:
    """Synthesize, and return the exit code. The CDK CLI hands over context and folder by the environment.

    Each bad setting and a bad declaration is one line on stderr; the exit code is 2, and nothing is written.
    """
    app = App(context={**FLAGS, **(context or {})}, outdir=outdir)
    try:
        jobs = registry()
        settings = read_settings(app.node.try_get_context(CONTEXT_KEY), jobs)
        build(app, settings, jobs)
    except (SettingError, DeclarationError) as error:
        sys.stderr.writelines(f"nightshift: {line}\n" for line in str(error).splitlines())
        return REFUSED
    except BuildError as error:
        sys.stderr.write(f"nightshift: {error}\n")
        return BROKEN
    app.synth()
    return 0


def build(app: App, settings: Settings, jobs: Mapping[str, Registration]) -> None:
    """The stacks: the platform, and one for each pack."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    deployed = settings.deployed(jobs)
    settings.check_files(deployed)
    given = settings.database.ca_file if isinstance(settings.database, ExistingDatabase) else None
    packages = Packages(settings.python, settings.architecture, certificate_file=given)
    packages.say_what_is_missing()
    _name_endpoints(settings, deployed)
    platform = PlatformStack(app, settings, deployed, packages, _synthesizer(settings))
    for pack in settings.packs:
        members = [registration for registration in deployed if registration.pack == pack]
        PackStack(app, pack, members, platform, _synthesizer(settings))


def _name_endpoints(settings: Settings, jobs: Sequence[Registration]) -> None:
    """Say what a VPC without a NAT gateway needs, and refuse what its endpoints lack."""
    network = settings.network
    if network is None:
        return
    found = calls(settings, jobs)
    needed = endpoints(found)
    if not network.endpoints:
        sys.stderr.write(
            f"nightshift: functions stand in {network.vpc_id}; without a NAT gateway it needs VPC endpoints for "
            f"{', '.join(needed)}: {CONTEXT_KEY}.network.endpoints makes them\n"
        )
    elif "s3" in needed and not network.route_table_ids:
        names = sorted({call.function for call in found if call.api == "s3"})
        raise SettingError(
            f"{CONTEXT_KEY}.network.route_table_ids is missing: the endpoint of S3 stands in the route tables of the "
            f"subnets, and these jobs need files: {', '.join(names)}"
        )


def _synthesizer(settings: Settings) -> StackSynthesizer:
    if settings.deploy_with == "cli-credentials":
        return CliCredentialsStackSynthesizer()
    return DefaultStackSynthesizer()
