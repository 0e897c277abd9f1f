"""The code and layers as one stack uses them."""

import platform

from aws_cdk import Stack, aws_lambda as lambda_
from constructs import Construct

from infra.packages import Packages
from nightshift.environment import DEFAULT_NAME


class Code(Construct):
    """Layers belong to the stack that uses them: a layer shared through another stack's export could never change."""

    def __init__(self, scope: Construct, identity: str, packages: Packages, deployment: str = DEFAULT_NAME) -> None:
        super().__init__(scope, identity)
        machine = platform.machine() if packages.architecture == "local" else packages.architecture
        arm = machine in ("arm64", "aarch64")
        self.architecture = lambda_.Architecture.ARM_64 if arm else lambda_.Architecture.X86_64
        self.runtime = lambda_.Runtime(f"python{packages.python}", lambda_.RuntimeFamily.PYTHON)
        self.functions = packages.functions.code()
        self.layers = [
            lambda_.LayerVersion(
                self,
                name,
                code=package.code(),
                layer_version_name=_layer_name(self, deployment, name),
                description=about,
                compatible_runtimes=[self.runtime],
                compatible_architectures=[self.architecture],
            )
            for name, package, about in (
                ("Dependencies", packages.dependencies, "Libraries of Nightshift"),
                ("Nightshift", packages.nightshift, "The runtime library of Nightshift"),
                ("Application", packages.application, "The application's own code"),
                ("Certificates", packages.certificates, "The certificates by which the database is known"),
            )
            if package is not None
        ]


def _layer_name(scope: Construct, deployment: str, name: str) -> str | None:
    """Without a name of its own a layer is called by its place in the stack, which is the same in every deployment."""
    return None if deployment == DEFAULT_NAME else f"{Stack.of(scope).stack_name}-{name}"
