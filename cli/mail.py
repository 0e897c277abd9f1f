"""Look at the mails that Nightshift sends, without sending any."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nightshift.outbox import notice_kinds, render_sample

application = typer.Typer(no_args_is_help=True, help="Look at the mails that are sent.")

KindName = StrEnum("KindName", {name: name for name in notice_kinds()})  # type: ignore[misc]


@application.callback()
def main() -> None:
    """Look at the mails that are sent."""


@application.command()
def preview(
    kind: Annotated[KindName, typer.Argument(metavar="KIND", help=f"One of {', '.join(notice_kinds())}.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write it.")] = Path("."),
) -> None:
    """Write a mail of a kind with sample data, as HTML and as text."""
    mail = render_sample(kind.value)
    to.mkdir(parents=True, exist_ok=True)
    for form, content in (("html", mail.html), ("txt", mail.text)):
        path = to / f"{kind.value}.{form}"
        path.write_text(content)
        typer.echo(path)
