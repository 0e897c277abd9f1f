"""The example's kinds of notice: what holds for every kind, and what only these say."""

import re

import pytest

from nightshift.outbox import notice_kinds, render_sample
from tests.unit import test_mail as library

test_a_mail_is_whole_in_both_forms = library.test_a_mail_is_whole_in_both_forms
test_a_mail_keeps_its_look = library.test_a_mail_keeps_its_look_where_the_style_sheet_is_dropped
test_a_mail_does_not_grow_with_the_data = library.test_a_mail_does_not_grow_with_the_data
test_the_preview_of_a_kind_is_written_in_both_forms = library.test_the_preview_of_a_kind_is_written_in_both_forms
test_what_people_wrote_is_escaped = library.test_what_people_wrote_is_escaped


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every kind that the example has."""
    own = [mark for mark in metafunc.definition.iter_markers("parametrize") if "kind" in mark.args[0]]
    if "kind" in metafunc.fixturenames and not own:
        metafunc.parametrize("kind", notice_kinds())


def test_the_list_of_mails_shows_what_it_is_about(kind: str) -> None:
    expected = "Pick a goal" if kind == "productivity_nudge" else notice_kinds()[kind].sample["body"]
    assert library.first_words(kind).startswith(expected)
    assert len(library.first_words(kind)) > 140, "nothing of the mail itself follows"


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("goal_planning", ["12 March 2026"]),
        ("weekly_review", ["from 23 February 2026 to 1 March 2026", "6 h 20 min"]),
        ("monthly_report", ["February 2026", "23 h 40 min", "28 min", "51 min"]),
        ("credential_expiry", ["31 March 2026", "in 30 days", "in 1 day", "2 days ago", "API key"]),
        ("job_failure", ["1 March 2026, 01:30 UTC"]),
    ],
)
def test_dates_and_durations_are_written_as_people_write_them(kind: str, facts: list[str]) -> None:
    mail = render_sample(kind)
    for form in (mail.html, mail.text):
        assert [fact for fact in facts if fact not in form] == []
        assert not re.search(r"\d{4}-\d\d", form)
