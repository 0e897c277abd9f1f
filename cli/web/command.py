"""nightshift web: the page, for as long as the command runs."""

import errno
import secrets
import socket
import sys
import webbrowser
from typing import Annotated

import typer

from cli.command_line import DeploymentCommand
from cli.deployment import operator
from cli.refusals import RefusedError

PORT = 8321
THREADS = 8

application = typer.Typer()


@application.command(cls=DeploymentCommand, rich_help_panel="Look")
def web(
    ctx: typer.Context,
    port: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, max=65535, help="Where it listens on this machine. 0: any free one.")
    ] = PORT,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address only; open no browser.")] = False,
) -> None:
    """Open a page in the browser: what is wrong, why, and the means to mend it.

    The page is served to this machine alone, by this command, with your own AWS credentials, until Ctrl-C. Nothing new
    is exposed on AWS, and nothing runs while nobody looks.
    """
    from waitress.server import create_server

    from cli.web.page import make_page

    listening = _listen(port)
    port = listening.getsockname()[1]
    token, once = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    page = make_page(operator(ctx), port=port, token=token, once=None if no_open else once)
    server = create_server(page, sockets=[listening], threads=THREADS)
    address = f"http://127.0.0.1:{port}/?token="
    typer.echo(f"The page is at {address}{token}\nOnly this machine reaches it. Ctrl-C ends it; runs go on.")
    sys.stdout.flush()  # whoever has started it may read the address from a pipe
    if not no_open:
        webbrowser.open(address + once)
    server.run()  # returns at Ctrl-C


def _listen(port: int) -> socket.socket:
    """Listen on loopback only. Refuses a port that somebody else has."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        why = "another program listens there" if error.errno == errno.EADDRINUSE else str(error.strerror)
        remedy = "choose another one with --port, or any with --port 0"
        raise RefusedError(f"port {port} cannot be used ({why}): {remedy}") from None
    return listening
