"""A database that takes connections, or the packets for them, and never answers: a security group, a route, a proxy.

Every function gives up by itself and says why, before Lambda ends it without a word.
"""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from functions.platform import console, control, dispatcher, migrate, supervisor
from nightshift import Job
from nightshift.environment import DATABASE_VARIABLE, DEPLOYMENT_VARIABLE, PARAMETERS_VARIABLE
from nightshift.runtime import lambda_handler
from tests.ground.functions.market.abandoned_carts import job as abandoned_carts

SECONDS = 3.0
"""What Lambda would leave the function."""


@pytest.fixture
def hole(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port where somebody listens and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(20)
        port: int = listening.getsockname()[1]
        for variable, value in {
            DATABASE_VARIABLE: json.dumps({"url": f"postgresql://ann@127.0.0.1:{port}/shop"}),
            DEPLOYMENT_VARIABLE: json.dumps({"packs": ["market"], "jobs": {}}),
            PARAMETERS_VARIABLE: "{}",
            "NIGHTSHIFT_APPLICATION_TABLES": "existing",
            "NIGHTSHIFT_DLQ_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/dead",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(variable, value)
        yield port


def context() -> Any:
    end = time.monotonic() + SECONDS
    return SimpleNamespace(
        aws_request_id="r-1", get_remaining_time_in_millis=lambda: max(0, int((end - time.monotonic()) * 1000))
    )


def _of(job: Job) -> Callable[[Any, Any], Any]:
    return lambda_handler(job)


@pytest.mark.parametrize(
    "handler",
    [console.handler, control.handler, dispatcher.handler, migrate.handler, supervisor.handler, _of(abandoned_carts)],
    ids=["console", "control", "dispatcher", "migrate", "supervisor", "job"],
)
def test_every_function_gives_up_with_the_reason_before_lambda_ends_it(
    handler: Callable[[Any, Any], Any], hole: int
) -> None:
    begun = time.monotonic()

    with pytest.raises(Exception, match=rf"127\.0\.0\.1:{hole} gave no answer within \d+ s: a security group") as told:
        handler({}, context())

    assert time.monotonic() - begun < SECONDS
    assert not re.search("ann", str(told.value))  # neither user nor password
