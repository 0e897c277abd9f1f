"""Which API of AWS which function calls, and when: derived from the declarations, for VPC endpoints and the docs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.settings import ExistingDatabase, Settings
from nightshift.declaration import Registration


@dataclass(frozen=True)
class Call:
    """Calls of one function to one API."""

    api: str
    """As boto3 calls it: `sqs`."""
    function: str
    """The function's name without the deployment's prefix."""
    when: str


ENDPOINTS = {
    "kms": "kms",
    "lambda": "lambda",
    "rds": "rds",
    "s3": "s3",
    "secretsmanager": "secretsmanager",
    "sesv2": "email",
    "sns": "sns",
    "sqs": "sqs",
}
"""The API, and the name of its VPC endpoint. S3's is a gateway, all others are interfaces."""

NEEDS = {
    "files": ("s3", "it reads, writes or deletes objects of Nightshift's bucket"),
    "application_files": ("s3", "it deletes files of the application"),
    "keys": ("kms", "it opens sealed columns"),
    "snapshots": ("rds", "it takes, follows and deletes snapshots"),
    "operators": ("sns", "it has to tell the operators that the database is away"),
}
"""What a job can need, and the API that it calls for it. What is missing here calls none."""

PLATFORM = ("migrate", "supervisor", "dispatcher", "console", "control")


def calls(settings: Settings, jobs: Sequence[Registration]) -> list[Call]:
    """The calls of a deployment's functions, by API and function.

    Logs, metrics, retries and what goes to the dead-letter queue after a failure are Lambda's own, outside the VPC. IAM
    tokens for the database are signed by the function itself.
    """
    found = [
        Call("lambda", "supervisor", "it starts runs, and goes on with them"),
        Call("sqs", "supervisor", "it reports final failures"),
        Call("sns", "dispatcher", "it tells the operators"),
        Call("sns", "supervisor", "it tells the operators what failed for good"),
        Call("lambda", "watch", "it asks the console whether all is well, from outside the VPC"),
    ]
    if settings.sender is not None:
        found.append(Call("sesv2", "dispatcher", "it sends mails"))
    if any("keys" in each.job.needs for each in jobs):
        found.append(Call("kms", "migrate", "it makes data keys"))
    names = [each.job.name for each in jobs]
    if not isinstance(settings.database, ExistingDatabase):
        found.append(Call("secretsmanager", "migrate", "it reads the owner's password"))
    elif settings.database.secret_arn is not None:
        found += [
            Call("secretsmanager", name, "it reads user and password, at each connection")
            for name in (*PLATFORM, *names)
        ]
    with_snapshots = not isinstance(settings.database, ExistingDatabase) or settings.database.is_of_rds
    for each in jobs:
        for need in sorted(each.job.needs & set(NEEDS)):
            if need != "snapshots" or with_snapshots:
                found.append(Call(NEEDS[need][0], each.job.name, NEEDS[need][1]))
    return sorted(found, key=lambda call: (call.api, call.function))


def endpoints(found: Iterable[Call]) -> list[str]:
    """The names of the VPC endpoints that these calls need, `s3` among them where it is one."""
    return sorted({ENDPOINTS[call.api] for call in found})


def table(found: Iterable[Call]) -> str:
    """The calls as a table: API, function, when. Functions that call the same for the same reason share a line."""
    lines: dict[tuple[str, str], list[str]] = {}
    for call in found:
        lines.setdefault((call.api, call.when), []).append(f"`{call.function}`")
    everything = {f"`{name}`" for name in PLATFORM}
    rows = [
        f"| `{ENDPOINTS[api]}` | {'every function' if everything <= {*functions} else ', '.join(functions)} | {when} |"
        for (api, when), functions in lines.items()
    ]
    return "\n".join(["| endpoint | functions | when |", "|---|---|---|", *rows])
