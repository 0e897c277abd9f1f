"""The arguments and options that several commands share, each with the one sentence that explains it."""

from typing import Annotated

import typer

from cli import completing, known_jobs

ISO_8601 = "ISO 8601 with a time zone, like 2026-03-02T09:00:00Z."

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON and nothing else.")]
Declared = Annotated[bool, typer.Option("--declared", help="Show what the code in this folder declares, without AWS.")]
JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's name. See nightshift jobs.", autocompletion=known_jobs.names)
]
OneJob = Annotated[str | None, typer.Argument(metavar="JOB", help="Only this job.", autocompletion=known_jobs.names)]
At = Annotated[str | None, typer.Option(metavar="TIME", help=f"Run as of this past time: {ISO_8601}")]
By = Annotated[str, typer.Option(metavar="NAME", help="Who does this. The ledger keeps it.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why. The ledger keeps it.")]
RunOrJob = Annotated[
    str,
    typer.Argument(
        metavar="RUN|JOB",
        help="The run's id, or at least its first 6 characters; or the name of a job.",
        autocompletion=completing.runs_and_jobs,
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help=f"When it ends by itself: {ISO_8601} Instead: --for.")]
For = Annotated[
    str | None, typer.Option("--for", metavar="DURATION", help="How long, like 90min, 8h or 3d. Instead: --until.")
]
MaybeJob = Annotated[
    str | None,
    typer.Argument(metavar="JOB", help="The job's name. Instead: --all.", autocompletion=known_jobs.names),
]
All = Annotated[bool, typer.Option("--all", help="All jobs, also those that are deployed later.")]
_RUN = "The run's id, or at least its first 6 characters."
OpenRun = Annotated[str, typer.Argument(metavar="RUN", help=_RUN, autocompletion=completing.open_runs)]
EndedRun = Annotated[str, typer.Argument(metavar="RUN", help=_RUN, autocompletion=completing.ended_badly)]
Parameters = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=NUMBER", help="Set a parameter for this run only. May be repeated."),
]
