"""The life of a deployment, by `make` alone: the first, a pack that goes and comes back, the end, and the next one.

Nothing is on the PATH but Python, make and what every system has.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

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

    def call(self, function: str, name: str = "nightshift") -> dict[str, Any]:
        client: LambdaClient = self.aws.client("lambda")
        answer = client.invoke(FunctionName=f"{name}-{function}", Payload="{}")
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

    # WHEN it is added again THEN its jobs open what they sealed before
    account.settings(BOTH)
    account.make("deploy", APPROVED)
    assert account.stacks() == {"Nightshift-Platform", "Nightshift-Market", "Nightshift-BackOffice"}
    assert account.rows("select key_id, encrypted_key, kms_key from nightshift.data_keys") == sealed
    assert account.call("daily-takings")["outcome"] == "succeeded"

    # WHEN everything is taken back THEN no stack is left, and what holds data stays
    account.make("destroy", "--force")
    assert account.stacks() == set()
    kms, s3 = account.aws.client("kms"), account.aws.client("s3")
    (_, _, key) = sealed[0]
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
    assert [bucket for bucket in s3.list_buckets()["Buckets"] if "files" in bucket["Name"]]

    # WHEN it is deployed anew on the same database, with the key that was kept
    account.settings(BOTH, kms_key_arn=key)
    account.make("deploy", APPROVED)
    # THEN what was sealed can be opened, and the ledger goes on
    assert account.rows("select key_id, encrypted_key, kms_key from nightshift.data_keys") == sealed
    assert account.call("abandoned-carts")["outcome"] == "succeeded"
    assert account.call("daily-takings")["outcome"] == "succeeded"
    assert account.rows("select count(*) from nightshift.runs where job = 'abandoned-carts'") == [(2,)]
    # AND a rollback finds the schema of newer code, which has expanded it, and succeeds; and the jobs run on it
    with create_engine(account.postgres.url("postgres"), poolclass=NullPool).begin() as connection:
        for newer in (
            "update nightshift.alembic_version set version_num = 'nightshift_9999' where version_num ~ '^nightshift'",
            "alter table nightshift.runs add of_newer_code text",
            "alter table nightshift.attempts add of_newer_code integer not null default 1",
            "create table nightshift.of_newer_code (id bigint primary key)",
        ):
            connection.execute(text(newer))
    assert account.call("migrate")["ahead"] == ["nightshift_9999"]
    assert account.call("abandoned-carts")["outcome"] == "succeeded"
    account.call("supervisor")


class Monitor(BaseHTTPRequestHandler):
    """A monitor outside the account, in the manner of healthchecks.io."""

    heard: ClassVar[list[tuple[str, str]]] = []

    def do_POST(self) -> None:
        self.heard.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def monitor() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Monitor) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/staging"
        server.shutdown()


def test_two_names_in_one_account_and_a_monitor_that_notices_a_supervisor_switched_off(
    account: Account, monitor: str
) -> None:
    # GIVEN the deployment without a name, and a second database on the server
    if not account.stacks():
        account.settings(["market"])
        account.make("bootstrap", f"aws://{ACCOUNT}/{REGION}")
        account.make("deploy", APPROVED)
    before = account.stacks()
    with create_engine(account.postgres.url(), isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as server:
        server.execute(text("create database staging"))
        server.execute(text("create role staging_console login"))
    staging = create_engine(account.postgres.url("staging"), poolclass=NullPool)
    Base.metadata.create_all(staging)
    url = account.postgres.url("staging").render_as_string(hide_password=False)

    # WHEN another name is deployed beside it
    account.settings(
        ["market"], name="staging", database={"url": url, "console_user": "staging_console"}, ping_url=monitor
    )
    account.make("deploy", APPROVED)

    # THEN both are there, each with its own functions and its own database
    assert account.stacks() == before
    runs = "select count(*) from nightshift.runs where job = 'abandoned-carts'"
    mine = account.rows(runs)
    assert account.call("abandoned-carts", name="staging")["outcome"] == "succeeded"
    assert account.rows(runs) == mine
    with staging.connect() as connection:
        assert connection.scalar(text(runs)) == 1
        assert connection.scalar(text("select deployment from nightshift.deployments")) == f"{ACCOUNT}/{REGION}/staging"

    # AND the command finds the one that cdk.json names, as a user who only reads, and says who changed what
    def nightshift(*arguments: str) -> Any:
        command = [sys.executable, "-m", "cli", *arguments, "--json"]
        paths = [str(account.project / each) for each in (".", "layers/nightshift/python", "layers/application/python")]
        environment = {**account.environment, "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(
            command, cwd=account.project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    nightshift("pause", "abandoned-carts", "--by", "Ada", "--reason", "a move")
    ((told,)) = nightshift("log", "abandoned-carts")["commands"]
    assert (told["command"], told["by"], told["reason"], told["result"]) == ("pause", "Ada", "a move", "done")
    assert told["caller"].startswith("arn:aws:")
    assert told["request_id"]
    assert nightshift("log", "--name", "nightshift")["commands"] == []

    # AND the monitor hears of every look, and of a supervisor that no longer looks
    Monitor.heard.clear()
    account.call("supervisor", name="staging")
    account.call("watch", name="staging")
    assert [path for path, _ in Monitor.heard] == ["/staging/start", "/staging"]
    with staging.begin() as connection:
        connection.execute(text("update nightshift.signs_of_life set at = at - interval '6 minutes'"))
    with pytest.raises(AssertionError, match="the supervisor has not looked over the ledger"):
        account.call("watch", name="staging")
    assert Monitor.heard[-1][0] == "/staging/fail"
    assert "the supervisor has not looked" in Monitor.heard[-1][1]
