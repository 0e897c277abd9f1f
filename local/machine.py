"""All of Nightshift on this machine: PostgreSQL, AWS and the deployed app run inside a `with` block."""

import fcntl
import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import NullPool, create_engine, text

from local.aws import ACCOUNT, REGION, LocalAws
from local.deploy import PROJECT, Deployment
from local.node import PYTHON_DIRECTORY
from local.own_database import OwnDatabase
from local.postgres import PostgresServer
from nightshift.declaration import function_name, registry
from nightshift.environment import DEFAULT_NAME, NAME_VARIABLE

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_rds import RDSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

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
class RunningApp:
    """AWS with the app deployed, the outputs of its stacks by stack name, and how its database is reached."""

    aws: LocalAws
    deployment: Deployment
    outputs: Mapping[str, Mapping[str, str]]
    database: Mapping[str, str]

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which the AWS CLI, boto3 and the command `nightshift` find this machine."""
        return {
            **self.aws.settings(),
            NAME_VARIABLE: DEFAULT_NAME,
            "NIGHTSHIFT_DATABASE": json.dumps(self.database),
        }

    @property
    def files_bucket(self) -> str:
        """The name of the bucket that is the file store."""
        return self.outputs["Nightshift-Platform"]["FilesBucketArn"].rpartition(":")[2]

    @property
    def jobs(self) -> list[str]:
        """The deployed jobs, in the order of the registry."""
        return deployed_jobs(self.aws)

    def write_variables(self) -> Path:
        """Write a shell script for `source` in another terminal, and return its path. It also finds the commands."""
        script = self.deployment.directory.parent / "environment"
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self.variables.items()]
        script.write_text("".join([*lines, f'export PATH={shlex.quote(str(PYTHON_DIRECTORY))}:"$PATH"\n']))
        return script


@dataclass(frozen=True)
class Machine(RunningApp):
    """The same with PostgreSQL, made for it."""

    postgres: PostgresServer


def deployed_jobs(aws: LocalAws) -> list[str]:
    """The jobs whose functions are there, in the order of the registry."""
    functions: LambdaClient = aws.client("lambda")
    pages = functions.get_paginator("list_functions").paginate()
    deployed = {function["FunctionName"] for page in pages for function in page["Functions"]}
    return [job for job in registry() if function_name(job) in deployed]


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
                _verify_sender(aws, SENDER)
                _register_with_rds(aws)
                database = _database(postgres)
                its = {
                    "database": {**database, "rds_instance": RDS_INSTANCE},
                    "application_tables": "create",
                    "sender": SENDER,
                    **(settings or {}),
                }
                deployment, outputs = _deployed(aws, directory, its, report, project)
                yield Machine(aws, deployment, outputs, database, postgres)


@contextmanager
def machine_with(
    own: OwnDatabase, name: str, *, report: Callable[[str], None] = lambda line: None, project: Path = PROJECT
) -> Iterator[RunningApp]:
    """The same on a database that is there already, with the settings of cdk.json and every rule off.

    The password is handed to functions in a secret of the local AWS, which lives in its memory: no template, log or
    file has it. Raises as `machine` does.
    """
    with _only_one(name) as directory:
        report("Starting the local AWS")
        with LocalAws(directory) as aws:
            sender = own_settings(project).get("sender")
            if sender:
                _verify_sender(aws, sender)
            database = {"url": own.url}
            if own.password is not None:
                database["secret_arn"] = _secret(aws, own.user, own.password)
            its = {
                "database": database,
                "network": None,
                "python": None,
                "rules": "off",
                # Empty: the application's own one is elsewhere, and nothing here may delete from it.
                "files_bucket": _bucket(aws, own_settings(project).get("files_bucket", "application-files")),
            }
            deployment, outputs = _deployed(aws, directory, its, report, project)
            yield RunningApp(aws, deployment, outputs, database)


def own_settings(project: Path = PROJECT) -> dict[str, Any]:
    """What cdk.json says under the context key `nightshift`."""
    found: dict[str, Any] = json.loads((project / "cdk.json").read_text()).get("context", {}).get("nightshift", {})
    return found


def _deployed(
    aws: LocalAws, directory: Path, settings: Mapping[str, object], report: Callable[[str], None], project: Path
) -> tuple[Deployment, dict[str, dict[str, str]]]:
    """Deploy the app with what differs from a deployment to real AWS."""
    needed = {
        # The bootstrap's publishing role is not allowed to write its bucket here, once IAM is enforced.
        "deploy_with": "cli-credentials",
        "architecture": "local",  # functions are run by this Python on this processor
        "name": DEFAULT_NAME,  # this AWS has nobody else's deployment
    }
    deployment = Deployment(
        directory / "cdk",
        environment=aws.environment(),
        settings={**needed, **settings},
        report=report,
        project=project,
    )
    report("Starting the deployment: bootstrap")
    deployment.bootstrap(ACCOUNT, REGION)
    report("Starting the deployment: synthesis and stacks")
    outputs = deployment.deploy()
    _widen_grants(aws)
    return deployment, outputs


def _secret(aws: LocalAws, user: str, password: str) -> str:
    """Keep user and password where functions look for them, and return the secret's ARN."""
    secrets: SecretsManagerClient = aws.client("secretsmanager")
    words = json.dumps({"username": user, "password": password})
    return secrets.create_secret(Name="database", SecretString=words)["ARN"]


def _bucket(aws: LocalAws, name: str) -> str:
    """Make a bucket, and return its name."""
    aws.client("s3").create_bucket(Bucket=name)
    return name


def _verify_sender(aws: LocalAws, sender: str) -> None:
    aws.client("sesv2").create_email_identity(EmailIdentity=sender)  # unverified senders are refused


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
