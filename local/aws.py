"""AWS on this machine: ministack on a loopback port with HTTPS, and IAM enforced.

Functions run as subprocesses of the local Python, with the credentials of their own role. So a missing grant fails
here.
"""

import os
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

from local import certificate
from local.certificate import ServerCertificate
from local.node import search_path
from local.process import child_process
from local.scratch import scratch_folder

ACCOUNT = "000000000000"
REGION = "us-east-1"
HOST = "127.0.0.1"
START_SECONDS = 60.0


class LocalAwsError(Exception):
    """The local AWS did not start. The message says why, and names the log."""


class LocalAws:
    """A context manager: AWS runs inside the `with` block. At its end, AWS and all its function workers are stopped.

    Only the log stays, `aws.log` in `directory`, and `authority.pem`: the certificate authority that clients must
    trust, made anew at each start. `retry_base_seconds` is the wait before the first retry of a failed asynchronous
    invocation; it doubles each time (60 on real AWS).
    """

    def __init__(self, directory: Path, *, retry_base_seconds: float = 1.0) -> None:
        self.directory = directory
        self.log = directory / "aws.log"
        self.authority = directory / "authority.pem"
        self.port = _free_port()
        self.endpoint = f"https://{HOST}:{self.port}"
        self._retry_base_seconds = retry_base_seconds
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as resources:
            scratch = resources.enter_context(scratch_folder(self.directory))
            presented = certificate.issue(scratch, self.authority)
            trusted = ssl.create_default_context(cafile=self.authority)
            log = resources.enter_context(self.log.open("w"))
            process = resources.enter_context(
                child_process(
                    [sys.executable, "-P", str(Path(__file__).with_name("lambda_payloads.py"))],
                    environment=self._server_environment(scratch, presented),
                    directory=scratch,
                    output=log,
                )
            )
            deadline = time.monotonic() + START_SECONDS
            while not self._is_healthy(trusted):
                if process.poll() is not None:
                    raise LocalAwsError(f"the local AWS ended with exit code {process.returncode}: see {self.log}")
                if time.monotonic() > deadline:
                    raise LocalAwsError(f"the local AWS did not answer within {START_SECONDS:.0f} s: see {self.log}")
                time.sleep(0.1)
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def settings(self) -> dict[str, str]:
        """The environment variables that point the AWS CLI, boto3 and the CDK here, as the account's root user."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            **self._trust(),
        }

    def environment(self) -> dict[str, str]:
        """The whole environment of a subprocess that uses this AWS, without the caller's own AWS settings."""
        return {
            **without_aws_settings(os.environ),
            **self.settings(),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": HOST,
            "no_proxy": HOST,
            "PATH": search_path(os.environ),
        }

    def client(self, service: str) -> Any:
        """A boto3 client for this AWS. Annotate the variable with its type from `mypy_boto3_<service>`."""
        return boto3.client(  # type: ignore[call-overload]  # the service is not a literal
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            verify=str(self.authority),
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106  # the root user's well-known key of the local AWS
            # A job may run for 15 minutes, and a repeated call would be a second run.
            config=Config(read_timeout=900, retries={"total_max_attempts": 1}),
        )

    def _trust(self) -> dict[str, str]:
        """The authority for boto3 and the AWS CLI, and for programs of Node."""
        return {"AWS_CA_BUNDLE": str(self.authority), "NODE_EXTRA_CA_CERTS": str(self.authority)}

    def _server_environment(self, scratch: Path, presented: ServerCertificate) -> dict[str, str]:
        return {
            **without_aws_settings(os.environ),
            **self._trust(),  # for the functions: their workers start with the server's environment
            "USE_SSL": "1",
            "MINISTACK_SSL_CERT": str(presented.chain),
            "MINISTACK_SSL_KEY": str(presented.key),
            "PATH": search_path(os.environ),
            "AUTH": "true",
            "BIND_HOST": HOST,
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": HOST,
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": str(self._retry_base_seconds),
            "TMPDIR": str(scratch),  # each function worker unpacks its code and layers here
            "STATE_DIR": str(scratch / "state"),
            "DOCKER_HOST": f"unix://{scratch}/no-docker",  # it would look for leftover containers of its own
            "IOT_MTLS_ENABLED": "0",  # listeners that nobody here needs
            "SFTP_ENABLED": "0",
        }

    def _is_healthy(self, trusted: ssl.SSLContext) -> bool:
        connection = HTTPSConnection(HOST, self.port, timeout=2, context=trusted)
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def calls_at_once() -> Iterator[ThreadPoolExecutor]:
    """As many as processors. After Ctrl-C nobody waits for their calls, which end when the local AWS is stopped."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def without_aws_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the caller's AWS and Python settings: functions would inherit them from the server."""
    return {name: value for name, value in environment.items() if not name.startswith(("AWS_", "CDK_", "PYTHON"))}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
