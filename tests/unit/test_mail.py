import json
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.commands import application
from nightshift.errors import DeclarationError
from nightshift.mail import UnsendableError, render, render_sample, samples
from nightshift.notifications import KINDS

VILLAIN = "<script>alert('x')</script>"

VOID = {"meta", "br"}


class Balance(HTMLParser):
    """Notes tags that are closed in the wrong order, and the text outside the style sheet."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def test_every_kind_has_its_templates_and_a_sample() -> None:
    folder = files("nightshift") / "templates"
    assert set(samples()) == set(KINDS)
    for kind in KINDS:
        assert (folder / f"{kind}.html").is_file()
        assert (folder / f"{kind}.txt").is_file()


@pytest.mark.parametrize("kind", KINDS)
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


@pytest.mark.parametrize("kind", KINDS)
def test_what_people_wrote_is_escaped(kind: str) -> None:
    """GIVEN markup in every text a template could show THEN none of it is markup in the mail."""

    def poison(value: object, name: str = "") -> object:
        if isinstance(value, dict):
            return {key: poison(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return VILLAIN if isinstance(value, str) else value

    poisoned = json.loads(json.dumps(poison(samples()[kind]["data"])))
    mail = render(kind, title=VILLAIN, body=VILLAIN, data=poisoned, name=VILLAIN, preferences_url=VILLAIN)

    assert "<script" not in mail.html
    assert "&lt;script&gt;" in mail.html
    assert VILLAIN in mail.text, "plain text is not escaped"


def test_a_missing_fact_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(UnsendableError, match="weekly_review"):
        render("weekly_review", title="Your week", body="", data={}, name=None)


def test_somebody_without_a_name_is_not_greeted() -> None:
    mail = render("inactive_user", title="Hi", body="", data={"days": 4}, name=None)
    assert "Hello" not in mail.html
    assert "Hello" not in mail.text


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(DeclarationError, match="birthday"):
        render("birthday", title="Hi", body="", data={}, name=None)


@pytest.mark.parametrize("kind", KINDS)
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
