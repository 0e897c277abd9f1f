"""Every command that a page shows and that asks the deployment is carried out, against a real ledger."""

import datetime as dt
import re
import shlex
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from cli.aws import FunctionError
from cli.commands import application
from nightshift import ledger
from nightshift.declaration import Deployment, registry
from nightshift.errors import EventError, RunFailedError, SettingError
from nightshift.operations import answer, carry_out
from tests import pages
from tests.integration.conftest import Invoke

JOB = "abandoned-carts"
AS_TYPED = {"JOB": JOB, "TIME": "2026-03-02T02:00:00Z", "NAME": "Ada", "TEXT": "a reason"}
"""What stands for what the reader fills in."""

LATER = "2026-03-04T02:00:00Z"

ELSEWHERE = {
    "init": "tests/unit/test_init.py",
    "new": "tests/unit/test_new_job.py",
    "upgrade": "tests/unit/test_upgrade.py",
    "mail": "tests/unit/test_mail.py",
    "web": "tests/unit/test_web.py",
    "suggest": "tests/unit/test_cli_check.py",
    "check": "tests/unit/test_cli_check.py",
    "backup": "tests/unit/test_cli.py",
    "doctor": "tests/unit/test_doctor.py",
    "logs": "tests/unit/test_logs.py",
    "--database-url": "tests/integration/test_plan_in_a_database.py",
}
"""The commands that do not ask the deployment alone, and the tests that run them."""

AS_ADA = ("--by", "Ada", "--reason", "a reason")
LOOKING = ("status", "next", "jobs", "runs", "backfills", "health")


def shown(page: Path) -> Iterator[list[str]]:
    """The commands of a page: those in lines of their own, and those in sentences that are whole."""
    for line in pages.command_lines(page):
        if found := re.match(r"(?:\$ )?nightshift (.*)", line):
            yield shlex.split(found[1], comments=True)
    for code in pages.commands_in_sentences(page):
        words = shlex.split(code, comments=True) if code.startswith("nightshift ") else []
        if len(words) > 1 and (words[1] in LOOKING or "--by" in words):
            yield words[1:]


@dataclass
class InProcess:
    """The functions of a deployment, in this process."""

    session: Session
    invoke_job: Invoke
    asked: list[str] = field(default_factory=list)

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        name = function.removeprefix("nightshift-")
        self.asked.append(name)
        self.session.rollback()
        if name == "console":
            return answer(self.session, Deployment(), dict(payload), now=dt.datetime.now(dt.UTC))
        if name == "control":
            return carry_out(self.session, Deployment(), dict(payload))
        try:
            return self.invoke_job(registry()[name].job, dict(payload))
        except (EventError, SettingError, RunFailedError) as error:
            raise FunctionError(type(error).__name__, str(error)) from None

    def a_run(self, *, ended: bool) -> str:
        """The id of a run that is open, or was cancelled."""
        job = registry()[JOB].job
        self.session.rollback()
        request = ledger.Request("manual", parameters=job.resolve({}))
        claim = ledger.claim(self.session, JOB, job.effective_policy, request, seconds=60)
        assert isinstance(claim, ledger.Claim)
        if ended:
            cancel = {"command": "cancel", "run_id": str(claim.run.id), "by": "Ada", "reason": "a reason"}
            assert "error" not in self.invoke("nightshift-control", cancel)
        return str(claim.run.id)


def typed(words: list[str], on: InProcess) -> list[str]:
    """The words as a reader would type them here: with a job, a run and a backfill that are there."""
    filled = [LATER if before == "--to" else AS_TYPED.get(word, word) for before, word in pairwise(("", *words))]
    if filled[0] in ("show", "watch", "cancel", "redrive"):
        filled[1] = on.a_run(ended=filled[0] != "cancel")
    elif len(filled) > 1 and re.fullmatch(r"[a-z]+(-[a-z]+)+", filled[1]):
        filled[1] = JOB  # one of the example's, or of the reader's own
    if filled[0] == "backfills" and len(filled) > 2:
        on.session.rollback()
        latest = answer(on.session, Deployment(), {"query": "backfills"}, now=dt.datetime.now(dt.UTC))["backfills"][0]
        filled = [latest["backfill_id"][:8] if re.fullmatch("[0-9a-f]{8}", word) else word for word in filled]
    return filled


PAGES = [page for page in pages.PAGES if page.name != "CHANGELOG.md" and any(True for _ in shown(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("deployment")
def test_a_command_of_a_page_does_what_the_page_says(
    page: Path, session: Session, invoke_job: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NIGHTSHIFT_DATABASE_URL", raising=False)
    on = InProcess(session, invoke_job)
    for words in shown(page):
        elsewhere = [file for word, file in ELSEWHERE.items() if word in (words[0], *words[1:])]
        if elsewhere:
            assert (pages.ROOT / elsewhere[0]).exists()
            continue
        command = typed(words, on)
        done = CliRunner().invoke(application, command, obj=on)
        # A job that never ran has had no success in time, and the run that is watched was cancelled.
        passing = (0, 1) if words[0] in ("health", "watch") else (0,)
        assert done.exit_code in passing, f"{page.name} shows {words}: {done.stderr or done.exception!r}"


def test_pages_show_commands_that_look_change_and_run() -> None:
    """So that the test above has something to carry out."""
    names = {words[0] for page in PAGES for words in shown(page)}
    of_the_readme = {"run"} if pages.README else set()
    assert names >= of_the_readme | {"plan", "backfill", "backfills", "dial", "pause", "resume", "redrive", "cancel"}
    assert "health" in names


def test_what_a_page_shows_wrongly_is_found(session: Session, invoke_job: Invoke) -> None:
    on = InProcess(session, invoke_job)
    for wrong in (["resume", JOB, *AS_ADA], ["cancel", str(uuid.uuid4()), *AS_ADA]):
        assert CliRunner().invoke(application, wrong, obj=on).exit_code == 2
