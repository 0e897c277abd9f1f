"""Paging past the outbox: what is told when it does not work, and how often."""

import datetime as dt
from types import SimpleNamespace

import pytest

from nightshift.environment import TOPIC_VARIABLE
from nightshift.outbox import Mail, NotSent, Outlets, Refused, Unclear, page
from nightshift.runtime.paging import database_unreachable
from nightshift.store import FileStore


@pytest.mark.parametrize("failure", [NotSent("no route"), Refused("InvalidParameter"), Unclear("no answer")])
def test_a_page_that_does_not_get_through_says_so(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    monkeypatch.setenv(TOPIC_VARIABLE, "arn:aws:sns:us-east-1:123456789012:ops")

    def publish(self: Outlets, mail: Mail) -> None:
        raise failure

    monkeypatch.setattr(Outlets, "publish", publish)
    assert page("A title", "A text") is False
    monkeypatch.setattr(Outlets, "publish", lambda self, mail: None)
    assert page("A title", "A text") is True
    monkeypatch.delenv(TOPIC_VARIABLE)
    assert page("A title", "A text") is False


@pytest.mark.parametrize(("minutes", "paged"), [(4, 0), (6, 1)])
def test_operators_are_paged_again_after_five_minutes(
    files: FileStore, monkeypatch: pytest.MonkeyPatch, minutes: int, paged: int
) -> None:
    pages: list[str] = []

    def told(title: str, text: str) -> bool:
        pages.append(title)
        return True

    monkeypatch.setattr("nightshift.runtime.paging.page", told)
    before = SimpleNamespace(modified_at=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes))
    monkeypatch.setattr(FileStore, "pages", lambda self, prefix: iter([[before]]))
    database_unreachable()
    assert len(pages) == paged
