"""The arguments and options that several commands share, each with the one sentence that explains it."""

from typing import Annotated

import typer

from cli import known_jobs

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON and nothing else.")]
Declared = Annotated[bool, typer.Option("--declared", help="Ask no deployment: show what this folder's code declares.")]
JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="The job's name, as `nightshift jobs` lists it.", autocompletion=known_jobs.names
    ),
]
OneJob = Annotated[str | None, typer.Argument(metavar="JOB", help="Only this job.", autocompletion=known_jobs.names)]
At = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Run as of this past time: ISO 8601 with a zone, like 2026-03-02T09:00:00Z."),
]
By = Annotated[str, typer.Option(metavar="NAME", help="Who does this; it stands in the ledger.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it stands in the ledger.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or its first characters.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=NUMBER", help="Set a parameter of the job for this run alone. May be repeated."),
]
