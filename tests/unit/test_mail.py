import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.commands import application
from nightshift.errors import DeclarationError
from nightshift.outbox import UnsendableError, notice_kinds, render, render_sample

VILLAIN = "<script>alert('x')</script>"

DATE = re.compile(r"\d{4}-\d\d")
"""What is read as a date, and refused when it is none."""

VOID = {"meta", "br"}

KNOWN = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "div",
    "table",
    "tr",
    "th",
    "td",
    "h1",
    "h2",
    "p",
    "ul",
    "li",
}
KNOWN |= {"strong", "span", "code", "a", "br"}
"""The elements that every mail client has known for long."""

STYLED = {"body", "div", "th", "td", "h1", "h2", "ul", "li", "span", "code", "a"}
"""Those whose look must not hang on a style sheet, which some clients drop."""


class Balance(HTMLParser):
    """Notes tags that are closed in the wrong order, and the text outside the style sheet."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


@pytest.mark.parametrize("kind", notice_kinds())
def test_a_mail_is_whole_in_both_forms(kind: str) -> None:
    mail = render_sample(kind)
    page = Balance()
    page.feed(mail.html)
    assert (page.open, page.wrong) == ([], [])
    assert mail.html.startswith("<!doctype html>")
    assert 'lang="en"' in mail.html
    for form in ("".join(page.text), mail.text):
        assert mail.subject in form
        assert "Ann Example" in form
        assert "{{" not in form
        assert "{%" not in form
    assert "<" not in mail.text
    assert "\n\n\n" not in mail.text


@pytest.mark.parametrize("kind", notice_kinds())
def test_a_mail_keeps_its_look_where_the_style_sheet_is_dropped(kind: str) -> None:
    page = Balance()
    page.feed(render_sample(kind).html)

    assert {tag for tag, _ in page.elements} <= KNOWN
    for tag, attributes in page.elements:
        if tag in STYLED:
            assert "style" in attributes, (tag, attributes)
    assert len([tag for tag, attributes in page.elements if attributes.get("role") == "presentation"]) == 3


@pytest.mark.parametrize("kind", notice_kinds())
def test_the_list_of_mails_shows_what_it_is_about(kind: str) -> None:
    """GIVEN a client that shows the first words THEN they are neither the title again nor the greeting."""
    page = Balance()
    page.feed(render_sample(kind).html.partition("<body")[2].partition("<h1")[0])
    first = "".join(page.text).split(">")[1].strip()

    expected = "Pick a goal" if kind == "productivity_nudge" else notice_kinds()[kind].sample["body"]
    assert first.startswith(expected)
    assert len(first) > 140, "nothing of the mail itself follows"


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


@pytest.mark.parametrize(
    ("minutes", "expected"), [(0, "0 min"), (59.4, "59 min"), (59.5, "1 h"), (60, "1 h"), (61, "1 h 1 min")]
)
def test_a_duration_is_in_hours_from_an_hour_on(minutes: float, expected: str) -> None:
    data = {**notice_kinds()["weekly_review"].sample["data"], "focus_minutes": minutes}

    assert f"Focus time: {expected}\n" in render("weekly_review", title="T", body="", data=data, name=None).text


@pytest.mark.parametrize("kind", notice_kinds())
def test_what_people_wrote_is_escaped(kind: str) -> None:
    """GIVEN markup in every text a template could show THEN none of it is markup in the mail."""

    def poison(value: object, name: str = "") -> object:
        if isinstance(value, dict):
            return {key: poison(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return VILLAIN if isinstance(value, str) and not DATE.match(value) else value

    poisoned = json.loads(json.dumps(poison(notice_kinds()[kind].sample["data"])))
    mail = render(kind, title=VILLAIN, body=VILLAIN, data=poisoned, name=VILLAIN, preferences_url=VILLAIN)

    assert "<script" not in mail.html
    assert "&lt;script&gt;" in mail.html
    assert VILLAIN in mail.text, "plain text is not escaped"


def test_a_missing_fact_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(UnsendableError, match="weekly_review"):
        render("weekly_review", title="Your week", body="", data={}, name=None)


def test_a_date_that_is_none_is_an_error() -> None:
    with pytest.raises(UnsendableError, match="goal_planning") as refused:
        render("goal_planning", title="Plan", body="", data={"title": "Swim", "due_on": VILLAIN}, name=None)
    assert VILLAIN not in str(refused.value)


def test_somebody_without_a_name_is_not_greeted() -> None:
    mail = render("inactive_user", title="Hi", body="", data={"days": 4}, name=None)
    assert "Hello" not in mail.html
    assert "Hello" not in mail.text


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(DeclarationError, match="birthday"):
        render("birthday", title="Hi", body="", data={}, name=None)


@pytest.mark.parametrize("kind", notice_kinds())
def test_the_preview_of_a_kind_is_written_in_both_forms(kind: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(application, ["mail", "preview", kind, "--to", str(tmp_path / "mails")])

    assert result.exit_code == 0
    html, text = (tmp_path / "mails" / f"{kind}.{form}" for form in ("html", "txt"))
    assert result.output.split() == [str(html), str(text)]
    assert (html.read_text(), text.read_text()) == (render_sample(kind).html, render_sample(kind).text)


def test_the_preview_of_an_unknown_kind_is_refused_with_those_there_are(tmp_path: Path) -> None:
    result = CliRunner().invoke(application, ["mail", "preview", "birthday", "--to", str(tmp_path)])

    assert result.exit_code == 2
    assert "weekly_review" in result.output
    assert list(tmp_path.iterdir()) == []
