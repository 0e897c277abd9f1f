"""Preview the mails that Nightshift sends, without sending any."""

from pathlib import Path
from typing import Annotated

import typer

from cli.command_line import Command, Group
from cli.refusals import RefusedError

application = typer.Typer(cls=Group, no_args_is_help=True, help="Preview the mails that Nightshift sends.")


def _kinds() -> list[str]:
    from nightshift.outbox import notice_kinds

    return list(notice_kinds())


@application.command(cls=Command)
def preview(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="The kind of mail, like weekly_review.", autocompletion=_kinds)
    ],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write to.")] = Path("."),
) -> None:
    """Write a sample mail as HTML and as text."""
    from nightshift.outbox import render_sample

    if kind not in _kinds():
        raise RefusedError(f"unknown kind of mail {kind!r}; known are {', '.join(_kinds())}")
    mail = render_sample(kind)
    to.mkdir(parents=True, exist_ok=True)
    for form, content in (("html", mail.html), ("txt", mail.text)):
        path = to / f"{kind}.{form}"
        path.write_text(content)
        typer.echo(path)
