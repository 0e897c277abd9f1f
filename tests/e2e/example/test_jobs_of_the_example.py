"""Every job of the example does its work when Lambda invokes it, under its own role; and its mails go out."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import User
from application.people import live
from local.collect import collect
from local.demo import Invocation, dispatch, mails_waiting, put_off_mails
from local.machine import Machine
from nightshift.declaration import registry
from nightshift.outbox import Notification, notice_kinds
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("job", registry())
def test_a_deployed_job_succeeds(job: str, answers: Mapping[str, Invocation]) -> None:
    answer = answers[job]
    assert not answer.failed, answer.answer
    assert answer.outcome == "succeeded"


def test_the_dispatcher_sends_the_mails_of_the_outbox(machine: Machine, session: Session, tmp_path: Path) -> None:
    """Those that its rule starts and those started by hand together: what is collected is what the outbox says."""

    def sent() -> int:
        put_off_mails(machine)
        assert dispatch(machine.aws) is None
        eventually(lambda: mails_waiting(machine)[0] == 0, seconds=60)
        # Those of the data set were sent before there was a dispatcher to claim them.
        claimed = "channel = 'email' and status = 'sent' and claimed_at is not null"
        session.rollback()
        return int(session.scalar(text(f"select count(*) from nightshift.notifications where {claimed}")) or 0)  # noqa: S608 - a constant

    # Whoever was erased after a mail has no row any more.
    rows, mails = sent(), collect(machine, tmp_path / "output").mails
    assert mails >= rows > 0
    user = session.scalars(select(User).where(live).limit(1)).one()
    now = dt.datetime.now(dt.UTC)
    duty = notice_kinds()["job_failure"]  # goes out whatever a person prefers, and has had today
    session.add(
        Notification(
            recipient=str(user.id),
            channel="email",
            kind=duty.name,
            title="One more",
            body="",
            data=duty.sample["data"],
            dedupe_key="e2e",
            scheduled_for=now,
        )
    )
    session.commit()
    assert (sent(), collect(machine, tmp_path / "output").mails) == (rows + 1, mails + 1)
    (*_, last) = sorted((tmp_path / "output" / "mails").glob("*.txt"))
    assert last.read_text().startswith(f"To: {user.email}\nSubject: One more\n")
