"""The life of a deployment, by `make` alone: the first, a pack that goes and comes back, the end, and the next one.

Nothing is on the PATH but Python, make and what every system has.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import NullPool, create_engine, text

from local.aws import ACCOUNT, REGION, LocalAws
from local.deploy import PROJECT
from local.postgres import PostgresServer
from tests.ground.functions.market._tables import Base
from tests.ground.world import project_with_shop

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_lambda import LambdaClient

pytestmark = pytest.mark.e2e

ON_EVERY_SYSTEM = ("sh", "bash", "env", "dirname", "uname", "sed", "readlink", "cat")
BOTH, ONE = ["market", "back_office"], ["back_office"]
APPROVED = "--require-approval never"


@dataclass(frozen=True)
class Account:
    """A project with a pack or two, and an account at the local AWS to deploy it to."""

    project: Path
    aws: LocalAws
    postgres: PostgresServer
    environment: dict[str, str]

    def make(self, target: str, arguments: str = "") -> str:
        """What `make` says. The packages are installed already, as if by the target before."""
        installed = ["-o", ".venv/installed", "-o", "node_modules/installed"]
        command = ["make", *installed, target, f"ARGS={arguments}"]
        done = subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def settings(self, packs: list[str], **more: Any) -> None:
        database = {"url": self.postgres.url("postgres").render_as_string(hide_password=False)}
        settings = {
            "database": database,
            "packs": packs,
            "architecture": "local",
            "deploy_with": "cli-credentials",
            "rules": "off",
            **more,
        }
        written = {
            "app": "python3 app.py",
            "notices": False,
            "versionReporting": False,
            "context": {"nightshift": settings},
        }
        (self.project / "cdk.json").write_text(json.dumps(written))

    def stacks(self) -> set[str]:
        client: CloudFormationClient = self.aws.client("cloudformation")
        found = client.describe_stacks()["Stacks"]
        return {stack["StackName"] for stack in found if stack["StackName"].startswith("Nightshift-")}

    def call(self, function: str) -> dict[str, Any]:
        client: LambdaClient = self.aws.client("lambda")
        answer = client.invoke(FunctionName=f"nightshift-{function}", Payload="{}")
        found: dict[str, Any] = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, found
        return found

    def rows(self, statement: str) -> list[Any]:
        with create_engine(self.postgres.url("postgres"), poolclass=NullPool).connect() as connection:
            return list(connection.execute(text(statement)))


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    place = tmp_path_factory.mktemp("life")
    (place / "project").mkdir()
    (place / "bin").mkdir()
    project = project_with_shop(PROJECT, place / "project")
    (project / "cdk.json").unlink()
    for name in ("cdk.out", "cdk.context.json"):
        (project / name).unlink(missing_ok=True)
    for program in ("make", "python3", *ON_EVERY_SYSTEM):
        (place / "bin" / program).symlink_to(str(shutil.which(program)))
    with ExitStack() as running:
        postgres = running.enter_context(PostgresServer(place / "postgres"))
        aws = running.enter_context(LocalAws(place / "aws"))
        Base.metadata.create_all(create_engine(postgres.url("postgres"), poolclass=NullPool))
        environment = {
            **aws.settings(),
            "PATH": str(place / "bin"),
            "HOME": os.environ["HOME"],  # jsii keeps its unpacked libraries there
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield Account(project, aws, postgres, environment)


def test_the_life_of_a_deployment(account: Account) -> None:
    # GIVEN an account, WHEN the README is followed THEN the jobs run
    account.settings(BOTH)
    account.make("bootstrap", f"aws://{ACCOUNT}/{REGION}")
    account.make("deploy", APPROVED)
    assert account.stacks() == {"Nightshift-Platform", "Nightshift-Market", "Nightshift-BackOffice"}
    assert account.call("abandoned-carts")["outcome"] == "succeeded"
    sealed = account.rows("select key_id, encrypted_key, kms_key from nightshift.data_keys")
    assert len(sealed) == 1

    # WHEN the pack that sealed is left out THEN the update goes through, and its stack goes with the word for it
    account.settings(["market"])
    told = account.make("deploy", f"{APPROVED} --destroy-unwanted")
    assert "destroying the stack Nightshift-BackOffice" in told
    assert account.stacks() == {"Nightshift-Platform", "Nightshift-Market"}

    # WHEN everything is taken back THEN no stack is left, and what holds data stays
    account.make("destroy", "--force")
    assert account.stacks() == set()
    kms, s3 = account.aws.client("kms"), account.aws.client("s3")
    (_, _, key) = sealed[0]
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
    assert [bucket for bucket in s3.list_buckets()["Buckets"] if "files" in bucket["Name"]]

    # WHEN the pack is added again, in a deployment made anew on the same database, with the key that was kept
    account.settings(BOTH, kms_key_arn=key)
    account.make("deploy", APPROVED)
    # THEN what was sealed can be opened, and the ledger goes on
    assert account.rows("select key_id, encrypted_key, kms_key from nightshift.data_keys") == sealed
    assert account.call("abandoned-carts")["outcome"] == "succeeded"
    assert account.call("daily-takings")["outcome"] == "succeeded"
    assert account.rows("select count(*) from nightshift.runs where job = 'abandoned-carts'") == [(2,)]
    # AND a rollback finds the schema of newer code, and succeeds
    with create_engine(account.postgres.url("postgres"), poolclass=NullPool).begin() as connection:
        newer = (
            "update nightshift.alembic_version set version_num = 'nightshift_9999' where version_num ~ '^nightshift'"
        )
        connection.execute(text(newer))
    assert account.call("migrate")["ahead"] == ["nightshift_9999"]
