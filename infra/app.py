"""The whole app: settings in, stacks out."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
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

FLAG_REPORT = "cdk:feature-flag-report"

REFUSED = 2
BROKEN = 1


def main(context: Mapping[str, Any] | None = None, outdir: str | None = None) -> int:
    """Synthesize, and return the exit code. The CDK CLI hands over context and folder by the environment.

    Each bad setting and a bad declaration is one line on stderr; the exit code is 2, and no template is written.
    """
    app = App(context={**FLAGS, **(context or {})}, outdir=outdir)
    try:
        jobs = registry()
        settings = read_settings(app.node.try_get_context(CONTEXT_KEY), jobs)
        notes = build(app, settings, jobs)
    except (SettingError, DeclarationError) as error:
        sys.stderr.writelines(f"nightshift: {line}\n" for line in str(error).splitlines())
        return REFUSED
    except BuildError as error:
        sys.stderr.write(f"nightshift: {error}\n")
        return BROKEN
    drop_flag_report(Path(app.synth().directory))
    sys.stderr.writelines(f"nightshift: {note}\n" for note in notes)
    return 0


def drop_flag_report(assembly: Path) -> None:
    """Take the report on the CDK's flags out of what was synthesized. From it the CDK CLI would tell at every synth,
    diff and deployment how many of them nobody has set, and an operator can do nothing about that: see `FLAGS`.
    """
    path = assembly / "manifest.json"
    manifest = json.loads(path.read_text())
    artifacts = manifest["artifacts"]
    manifest["artifacts"] = {name: each for name, each in artifacts.items() if each["type"] != FLAG_REPORT}
    path.write_text(json.dumps(manifest, indent=2))


def build(app: App, settings: Settings, jobs: Mapping[str, Registration]) -> list[str]:
    """The stacks: the platform, and one for each pack. Returns what an operator should know, one line each."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    deployed = settings.deployed(jobs)
    settings.check_files(deployed)
    given = settings.database.ca_file if isinstance(settings.database, ExistingDatabase) else None
    packages = Packages(settings.python, settings.architecture, certificate_file=given)
    needed = _endpoints(settings, deployed)
    _stacks(app, settings, deployed, packages)
    return [*packages.notes, *needed]


def stacks(app: App, settings: Settings, jobs: Mapping[str, Registration]) -> None:
    """The same stacks without judges and without a word: for those who count what is in them."""
    _stacks(app, settings, settings.deployed(jobs), Packages(settings.python, settings.architecture))


def _stacks(app: App, settings: Settings, deployed: Sequence[Registration], packages: Packages) -> None:
    platform = PlatformStack(app, settings, deployed, packages, _synthesizer(settings))
    for pack in settings.packs:
        members = [registration for registration in deployed if registration.pack == pack]
        PackStack(app, pack, members, platform, _synthesizer(settings))


def _endpoints(settings: Settings, jobs: Sequence[Registration]) -> list[str]:
    """What a VPC without a NAT gateway needs, in words, where it gets no endpoints.

    Raises:
        SettingError: it gets endpoints, and that of S3 has no place.
    """
    network = settings.network
    if network is None:
        return []
    found = calls(settings, jobs)
    needed = endpoints(found)
    if not network.endpoints:
        return [
            f"functions stand in {network.vpc_id}; without a NAT gateway it needs VPC endpoints for "
            f"{', '.join(needed)}: {CONTEXT_KEY}.network.endpoints makes them"
        ]
    if "s3" in needed and not network.route_table_ids:
        names = sorted({call.function for call in found if call.api == "s3"})
        raise SettingError(
            f"{CONTEXT_KEY}.network.route_table_ids is missing: the endpoint of S3 stands in the route tables of the "
            f"subnets, and these jobs need files: {', '.join(names)}"
        )
    return []


def _synthesizer(settings: Settings) -> StackSynthesizer:
    if settings.deploy_with == "cli-credentials":
        return CliCredentialsStackSynthesizer()
    return DefaultStackSynthesizer()
