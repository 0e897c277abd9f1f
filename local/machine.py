"""All of Nightshift on this machine: PostgreSQL, AWS and the deployed app run inside a `with` block."""

import fcntl
import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import NullPool, create_engine, text

from local.aws import ACCOUNT, REGION, LocalAws
from local.deploy import PROJECT, Deployment
from local.postgres import PostgresServer
from nightshift.declaration import function_name, registry

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_rds import RDSClient

HOME = PROJECT / ".local"
DATABASE = "application"
SENDER = "nightshift@example.com"
RDS_INSTANCE = "application"


def checked_against_nothing() -> dict[str, list[str]]:
    """Actions of functions that the local AWS does not check against the resource they name."""
    snapshots = (name for name, found in registry().items() if "snapshots" in found.job.needs)
    return {
        "dispatcher": ["ses:SendEmail"],
        **{name: ["rds:DescribeDBSnapshots", "rds:DeleteDBSnapshot"] for name in snapshots},
    }


class MachineBusyError(Exception):
    """Another command of the same name is running in this folder."""


@dataclass(frozen=True)
class Machine:
    """The running parts, and the outputs of the deployed stacks by stack name."""

    postgres: PostgresServer
    aws: LocalAws
    deployment: Deployment
    outputs: Mapping[str, Mapping[str, str]]

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which the AWS CLI, boto3 and the command `nightshift` find this machine."""
        return {**self.aws.settings(), "NIGHTSHIFT_DATABASE": json.dumps(_database(self.postgres))}

    @property
    def files_bucket(self) -> str:
        """The name of the bucket that is the file store."""
        return self.outputs["Nightshift-Platform"]["FilesBucketArn"].rpartition(":")[2]

    def write_variables(self) -> Path:
        """Write the variables as a shell script, for `source` in another terminal, and return its path."""
        script = self.deployment.directory.parent / "environment"
        script.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.variables.items()))
        return script


@contextmanager
def machine(
    name: str,
    *,
    report: Callable[[str], None] = lambda line: None,
    settings: Mapping[str, object] | None = None,
    project: Path = PROJECT,
    retry_base_seconds: float = 1.0,
) -> Iterator[Machine]:
    """Start everything afresh in `.local/<name>`, deploy the app, and stop it all on leaving, also after an error.

    `report` is called with each line worth showing. `settings` go on top of the app's own, under the context key
    `nightshift`. Raises `MachineBusyError`, `PostgresError`, `LocalAwsError` or `DeploymentError`; logs stay in the
    folder until the next start. The database has the tables that the project's own
    migrations make, empty.
    """
    with _only_one(name) as directory:
        report("Starting PostgreSQL")
        with PostgresServer(directory / "postgres") as postgres:
            _create_database(postgres)
            report("Starting the local AWS")
            with LocalAws(directory, retry_base_seconds=retry_base_seconds) as aws:
                aws.client("sesv2").create_email_identity(EmailIdentity=SENDER)  # unverified senders are refused
                _register_with_rds(aws)
                deployment = Deployment(
                    directory / "cdk",
                    environment=aws.environment(),
                    settings={**_settings(postgres), **(settings or {})},
                    report=report,
                    project=project,
                )
                report("Starting the deployment: bootstrap")
                deployment.bootstrap(ACCOUNT, REGION)
                report("Starting the deployment: synthesis and stacks")
                outputs = deployment.deploy()
                _widen_grants(aws)
                yield Machine(postgres, aws, deployment, outputs)


def _settings(postgres: PostgresServer) -> dict[str, object]:
    """The settings that differ from a deployment to real AWS."""
    return {
        # The bootstrap's publishing role is not allowed to write its bucket here, once IAM is enforced.
        "deploy_with": "cli-credentials",
        "architecture": "local",  # functions are run by this Python on this processor
        "database": {**_database(postgres), "rds_instance": RDS_INSTANCE},
        "application_tables": "create",
        "sender": SENDER,
    }


def _widen_grants(aws: LocalAws) -> None:
    """Grant on every resource what the local AWS checks against no resource at all.

    The roles name the sender's identity and Nightshift's snapshots, which AWS checks. Everything else in the roles
    stays as deployed, and so do the roles of all other functions.
    """
    functions: LambdaClient = aws.client("lambda")
    for name, actions in checked_against_nothing().items():
        try:
            configuration = functions.get_function_configuration(FunctionName=function_name(name))
        except functions.exceptions.ResourceNotFoundException:
            continue  # its pack is not deployed
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        aws.client("iam").put_role_policy(
            RoleName=configuration["Role"].rpartition("/")[2],
            PolicyName="local",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )


def _register_with_rds(aws: LocalAws) -> None:
    """An instance of the database's name, so that its snapshots can be asked for.

    The local RDS keeps the records of instances and snapshots, and no data: there is no container to run one in.
    """
    rds: RDSClient = aws.client("rds")
    rds.create_db_instance(DBInstanceIdentifier=RDS_INSTANCE, DBInstanceClass="db.t4g.small", Engine="postgres")


def _database(postgres: PostgresServer) -> dict[str, str]:
    return {"url": postgres.url(DATABASE).render_as_string(hide_password=False)}


def _create_database(postgres: PostgresServer) -> None:
    """Make an empty database: the deployment's migrations fill it."""
    server = create_engine(postgres.url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with server.connect() as connection:
        connection.execute(text(f"create database {DATABASE}"))


@contextmanager
def _only_one(name: str) -> Iterator[Path]:
    """An empty folder that only this process uses until it ends."""
    HOME.mkdir(exist_ok=True)
    directory = HOME / name
    with (HOME / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MachineBusyError(f"another one is running in {directory}: stop it first") from None
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        yield directory
