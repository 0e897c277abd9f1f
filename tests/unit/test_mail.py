"""Notices as mails: what holds for every kind, and what the layouts and filters of the library do."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import ChoiceLoader, DictLoader
from typer.testing import CliRunner

from cli.commands import application
from nightshift.errors import DeclarationError
from nightshift.outbox import UnsendableError, notice_kinds, render, render_sample
from nightshift.outbox.kinds import Kind
from nightshift.outbox.mail import templates
from tests.ground.world import shop_alone

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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every kind that the shop has."""
    if "kind" in metafunc.fixturenames:
        with shop_alone():
            metafunc.parametrize("kind", notice_kinds())


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


def test_a_mail_keeps_its_look_where_the_style_sheet_is_dropped(kind: str) -> None:
    page = Balance()
    page.feed(render_sample(kind).html)

    assert {tag for tag, _ in page.elements} <= KNOWN
    for tag, attributes in page.elements:
        if tag in STYLED:
            assert "style" in attributes, (tag, attributes)
    assert len([tag for tag, attributes in page.elements if attributes.get("role") == "presentation"]) == 3


def test_the_list_of_mails_shows_what_it_is_about(kind: str) -> None:
    """GIVEN a client that shows the first words THEN they are neither the title again nor the greeting."""
    first = first_words(kind)
    assert first.startswith(notice_kinds()[kind].sample["body"])
    assert len(first) > 140, "nothing of the mail itself follows"


def first_words(kind: str) -> str:
    page = Balance()
    page.feed(render_sample(kind).html.partition("<body")[2].partition("<h1")[0])
    return "".join(page.text).split(">")[1].strip()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("'2026-03-01' | day", "1 March 2026"),
        ("'2026-02' | month", "February 2026"),
        ("'2026-03-01T03:30:00+02:00' | instant", "1 March 2026, 01:30 UTC"),
        ("'api_key' | in_words", "API key"),
        ("0 | duration", "0 min"),
        ("59.4 | duration", "59 min"),
        ("59.5 | duration", "1 h"),
        ("60 | duration", "1 h"),
        ("61 | duration", "1 h 1 min"),
        ("60120 | duration", "1,002 h"),
    ],
)
def test_dates_and_durations_are_written_as_people_write_them(written: str, expected: str) -> None:
    assert templates().from_string(f"{{{{ {written} }}}}").render() == expected


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


GMAIL_CLIPS = 102_000
"""Bytes of a mail that Gmail shows."""


@pytest.mark.parametrize("length", [0, 2_000], ids=["short", "long"])
def test_a_mail_does_not_grow_with_the_data(kind: str, length: int) -> None:
    """GIVEN a thousand times as many entries THEN the mail stays small, and says how many more there are."""

    def grown(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: grown(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [grown(item) for item in value] * 1_000
        return value + length * "ü" if isinstance(value, str) and not DATE.match(value) and name != "kind" else value

    sample = notice_kinds()[kind].sample
    data = grown(sample["data"])
    mail = render(kind, title=sample["title"], body=grown(sample["body"]), data=data, name="Ann")

    for form in (mail.html, mail.text):
        assert len(form.encode()) < 0.7 * GMAIL_CLIPS
        more = [int(number.replace(",", "")) for number in re.findall(r"And ([\d,]+) more", form)]
        for entries in (value for value in data.values() if isinstance(value, list)):
            assert any(number >= len(entries) - 50 for number in more), more


def test_a_mail_with_few_entries_shows_them_all() -> None:
    jobs = {f"job {n}": "broken" for n in range(50)}
    mail = render("operators", title="Down", body="All of them.", data=jobs, name=None)
    for form in (mail.html, mail.text):
        assert form.count("broken") == 50
        assert "more" not in form


def test_what_a_template_of_a_project_leaves_out_is_told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """GIVEN a kind whose templates say nothing of it THEN the layout does."""
    own = {
        f"carts/mail.{form}": f'{{% extends "base.{form}" %}}{{% block content %}}{{% for each in data.carts %}}'
        "cart {{ each.n }}\n{% endfor %}{% endblock %}"
        for form in ("html", "txt")
    }
    monkeypatch.setattr("nightshift.outbox.mail.notice_kinds", lambda: {"carts": Kind("carts", {})})
    monkeypatch.setattr("nightshift.outbox.mail.check_kind", lambda kind: kind)
    layouts = templates()
    overlaid = layouts.overlay(loader=ChoiceLoader([DictLoader(own), layouts.loader]))  # type: ignore[list-item]
    monkeypatch.setattr("nightshift.outbox.mail.templates", lambda: overlaid)

    mail = render("carts", title="Carts", body="", data={"carts": [{"n": n} for n in range(1_090)]}, name=None)

    for form in (mail.html, mail.text):
        assert form.count("cart ") == 50
        assert "And 1,040 more: the row of this notice in nightshift.notifications has all of them." in form


def test_a_missing_fact_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(UnsendableError, match="cart_waiting"):
        render("cart_waiting", title="Your cart", body="", data={}, name=None)


@pytest.mark.parametrize("since", [VILLAIN, "9999-12-31T23:59:59-12:00", {}, 7])
def test_a_date_that_is_none_is_an_error(since: Any) -> None:
    with pytest.raises(UnsendableError, match="shop_alarm") as refused:
        render("shop_alarm", title="Shut", body="", data={"reason": "Rain", "since": since}, name=None)
    assert VILLAIN not in str(refused.value)


def test_somebody_without_a_name_is_not_greeted() -> None:
    mail = render("cart_waiting", title="Hi", body="", data={"days": 4}, name=None)
    assert "Hello" not in mail.html
    assert "Hello" not in mail.text


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(DeclarationError, match="birthday"):
        render("birthday", title="Hi", body="", data={}, name=None)


def test_the_preview_of_a_kind_is_written_in_both_forms(kind: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(application, ["mail", "preview", kind, "--to", str(tmp_path / "mails")])

    assert result.exit_code == 0
    html, text = (tmp_path / "mails" / f"{kind}.{form}" for form in ("html", "txt"))
    assert result.output.split() == [str(html), str(text)]
    assert (html.read_text(), text.read_text()) == (render_sample(kind).html, render_sample(kind).text)


def test_the_preview_of_an_unknown_kind_is_refused_with_those_there_are(tmp_path: Path) -> None:
    result = CliRunner().invoke(application, ["mail", "preview", "birthday", "--to", str(tmp_path)])

    assert result.exit_code == 2
    assert "cart_waiting" in result.output
    assert list(tmp_path.iterdir()) == []
