"""The local AWS comes up fresh each time and leaves nothing running behind."""

import os
import select
import socket
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, SSLError

from local.aws import HOST, LocalAws
from local.deploy import Deployment, DeploymentError
from local.process import child_process


def test_what_a_child_started_is_stopped_with_it(tmp_path: Path) -> None:
    # GIVEN a child whose own child ignores the polite signal; both hold the pipe open while they live
    reading, writing = os.pipe()
    with open(reading) as ours, open(writing, "w") as theirs:
        forgotten = "sh -c 'trap \"\" TERM; echo started; while :; do sleep 1; done' & exit 0"
        with child_process(["sh", "-c", forgotten], environment=os.environ, directory=tmp_path, output=theirs) as child:
            assert ours.readline() == "started\n"
            child.wait()
        # WHEN the block is left
        theirs.close()
        # THEN nobody holds the pipe any more
        assert select.select([ours], [], [], 5)[0]
        assert ours.read() == ""


def test_two_starts_in_a_row_share_nothing_and_leave_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with LocalAws(tmp_path) as aws:
            queues = aws.client("sqs")
            assert not queues.list_queues().get("QueueUrls")
            queues.create_queue(QueueName="from-an-earlier-start")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, aws.port), timeout=1)
        assert {path.name for path in tmp_path.iterdir()} == {"aws.log", "authority.pem"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of the machine")
def test_it_listens_on_the_loopback_interface_only(tmp_path: Path) -> None:
    with LocalAws(tmp_path) as aws, socket.socket() as other:
        # The port is still free on the rest of 127/8, which a server on every interface would have taken.
        other.bind(("127.0.0.2", aws.port))


def test_a_payload_that_is_no_json_runs_nothing(tmp_path: Path) -> None:
    """As on AWS. Else a plan whose payload a shell has spoiled would be a run."""
    with LocalAws(tmp_path) as aws:
        functions = aws.client("lambda")
        for payload, refusal in (
            (b'{"dry_run', "InvalidRequestContentException"),
            (b"{}", "ResourceNotFoundException"),
        ):
            with pytest.raises(ClientError, match=refusal):
                functions.invoke(FunctionName="nobody", Payload=payload)


def test_only_its_own_authority_is_trusted(tmp_path: Path) -> None:
    with LocalAws(tmp_path / "one") as aws, LocalAws(tmp_path / "other") as other:
        aws.client("sqs").list_queues()
        # WHEN a client of one start is sent to the other THEN it refuses to talk
        aws.endpoint = other.endpoint
        with pytest.raises(SSLError, match="certificate verify failed"):
            aws.client("sqs").list_queues()


def test_the_callers_own_aws_account_is_never_in_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-real-token")
    environment = LocalAws(tmp_path).environment()
    assert {"AWS_PROFILE", "AWS_SESSION_TOKEN"}.isdisjoint(environment)
    assert environment["AWS_ENDPOINT_URL"].startswith(f"https://{HOST}:")
    assert environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull


def test_a_refused_setting_ends_the_deployment_with_what_the_app_said(tmp_path: Path) -> None:
    # GIVEN an app that refuses the settings it is given
    project = tmp_path / "app"
    project.mkdir()
    (project / "cdk.json").write_text('{"context": {"nightshift": {"packs": ["tracking"], "retention": 30}}}')
    (project / "app.py").write_text(
        "import json, os, sys\n"
        "settings = json.loads(os.environ['CDK_CONTEXT_JSON'])['nightshift']\n"
        "sys.exit('refused: ' + json.dumps(settings))\n"
    )
    lines: list[str] = []
    deployment = Deployment(
        tmp_path / "cdk", LocalAws(tmp_path).environment(), {"retention": 0}, report=lines.append, project=project
    )
    # WHEN it is deployed THEN the message names the settings as the app saw them: structured, ours over the project's
    with pytest.raises(DeploymentError, match=r'refused: {"packs": \["tracking"\], "retention": 0}'):
        deployment.deploy()
    assert any("refused" in line for line in lines)
    assert sys.executable in (tmp_path / "cdk" / "cdk.json").read_text()
