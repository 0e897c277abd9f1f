"""Every job of the example does its work when Lambda invokes it, under its own role; and its mails go out."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from local.collect import collect
from local.demo import Invocation, dispatch, mails_waiting, put_off_mails
from local.machine import Machine
from nightshift.declaration import registry
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("job", registry())
def test_a_deployed_job_succeeds(job: str, answers: Mapping[str, Invocation]) -> None:
    answer = answers[job]
    assert not answer.failed, answer.answer
    assert answer.outcome == "succeeded"


def test_the_dispatcher_sends_the_mails_of_the_outbox(machine: Machine, session: Session, tmp_path: Path) -> None:
    """Those that its rule starts and those started by hand together: what is collected is what the outbox says."""
    put_off_mails(machine)
    assert dispatch(machine.aws) is None
    eventually(lambda: mails_waiting(machine)[0] == 0, seconds=60)
    # Those of the data set were sent before there was a dispatcher to claim them.
    claimed = "channel = 'email' and status = 'sent' and claimed_at is not null"
    found = f"select count(*) from nightshift.notifications where {claimed}"  # noqa: S608 - a constant
    assert collect(machine, tmp_path / "output").mails == session.scalar(text(found)) > 0
    (first, *_) = sorted((tmp_path / "output" / "mails").glob("*.txt"))
    assert first.read_text().startswith("To: ")
