"""Deploys the app with the unmodified CDK command line, to the AWS that the environment names."""

import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.process import child_process

PROJECT = Path(__file__).parent.parent
CDK = PROJECT / "node_modules" / "aws-cdk" / "bin" / "cdk"
TAIL_LINES = 40


class DeploymentError(Exception):
    """The CDK command line failed. The message has the end of its output, and names the whole log."""


@dataclass(frozen=True)
class Deployment:
    """One app, its settings, and the AWS to deploy it to.

    `settings` are merged over the context key `nightshift` of the project's cdk.json. The command line's `-c` would
    pass every value as text, so the merged context is written to a cdk.json in `directory`, and used from there. The
    project's file stays as it is. `report` is called with each line of output.
    """

    directory: Path
    environment: Mapping[str, str]
    settings: Mapping[str, object] = field(default_factory=dict)
    report: Callable[[str], None] = lambda line: None
    project: Path = PROJECT

    @property
    def log(self) -> Path:
        """The log with the whole output of all commands."""
        return self.directory / "cdk.log"

    def bootstrap(self, account: str, region: str) -> None:
        """Make the bucket and roles that the CDK needs, once for each account and region."""
        # Runs in a folder without cdk.json: otherwise the command line would synthesize the whole app for nothing.
        elsewhere = self.directory / "bootstrap"
        elsewhere.mkdir(parents=True, exist_ok=True)
        self._cdk(["bootstrap", f"aws://{account}/{region}"], elsewhere)

    def deploy(self, stacks: Sequence[str] = ("--all",), *, concurrency: int = 5) -> dict[str, dict[str, str]]:
        """Deploy and return the outputs of the stacks by name. Raises `DeploymentError`."""
        self._write_configuration()
        outputs = self.directory / "outputs.json"
        arguments = ["deploy", *stacks, "--concurrency", str(concurrency), "--require-approval", "never"]
        self._cdk([*arguments, "--progress", "events", "--outputs-file", str(outputs)], self.directory)
        result: dict[str, dict[str, str]] = json.loads(outputs.read_text()) if outputs.exists() else {}
        return result

    def _write_configuration(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration: dict[str, Any] = json.loads((self.project / "cdk.json").read_text())
        context = configuration.setdefault("context", {})
        context["nightshift"] = {**context.get("nightshift", {}), **self.settings}
        configuration["app"] = f'cd "{self.project}" && "{sys.executable}" app.py'
        configuration["output"] = str(self.directory / "cdk.out")
        (self.directory / "cdk.json").write_text(json.dumps(configuration, indent=2))

    def _cdk(self, arguments: Sequence[str], directory: Path) -> None:
        command = ["node", str(CDK), *arguments, "--no-notices", "--ci", "--no-color"]
        environment = {**self.environment, "CDK_DISABLE_CLI_TELEMETRY": "true", "CDK_DISABLE_VERSION_CHECK": "true"}
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        with (
            self.log.open("a") as log,
            child_process(command, environment=environment, directory=directory, output=subprocess.PIPE) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                if line.strip():
                    tail.append(line.rstrip())
                    self.report(line.rstrip())
            code = process.wait()
        if code:
            raise DeploymentError(
                "\n".join([f"cdk {arguments[0]} ended with exit code {code}.", *tail, f"The whole output: {self.log}"])
            )
