"""The names that a job may have. Its file, function, rule and part of the stack all use the same name."""

from typing import Any

from nightshift.declaration.fields import KEBAB
from nightshift.errors import DeclarationError

PLATFORM_FUNCTIONS = ("console", "control", "dispatcher", "migrate", "supervisor", "watch")
"""The files of functions/platform. Their functions are named in the same way as those of jobs."""

EVERY_MINUTE = "cron(* * * * ? *)"
PLATFORM_RULES = ("dispatcher", "supervisor", "watch")
"""Those of them that a rule of the same name starts every minute."""

DEAD_LETTERS = "dead-letters"
"""The end of the name of a deployment's dead-letter queue, and a part of every stack."""

STACK_PARTS = ("bootstrap-version", "check-bootstrap-version", "code", DEAD_LETTERS, "files")
"""What the stack of every pack contains besides the jobs."""

LONGEST_ON_AWS = 64
"""The most characters in the name of a Lambda function or an EventBridge rule."""

LONGEST_DEPLOYMENT = 20
"""The most characters in the name of a deployment, which goes before the job's name with a hyphen."""

DEPLOYMENT_NAME = f"[a-z][a-z0-9]{{0,{LONGEST_DEPLOYMENT - 1}}}"
"""Without a hyphen: no grant by prefix reaches another deployment's functions."""

LONGEST_JOB_NAME = LONGEST_ON_AWS - LONGEST_DEPLOYMENT - 1


def check_job_name(name: Any) -> None:
    """Refuse a name that AWS would not accept, or that the platform already uses.

    Raises:
        DeclarationError: with the remedy.
    """
    if not (isinstance(name, str) and KEBAB.fullmatch(name)):
        raise DeclarationError(f"job name {name!r} must be kebab-case, like delete-orders")
    if len(name) > LONGEST_JOB_NAME:
        raise DeclarationError(
            f"job name {name!r} has {len(name)} characters; at most {LONGEST_JOB_NAME} fit: a function's name on AWS "
            f"has at most {LONGEST_ON_AWS}, and up to {LONGEST_DEPLOYMENT} and a hyphen go before it; shorten it"
        )
    for owner, taken in (
        ("the platform's own function", PLATFORM_FUNCTIONS),
        ("a part of every pack's stack", STACK_PARTS),
    ):
        if name in taken:
            raise DeclarationError(f"job name {name!r} is taken by {owner}; name the job after what it does")


def construct_of(name: str) -> str:
    """The name of a job in its stack: delete-orders becomes DeleteOrders."""
    return "".join(word.capitalize() for word in name.split("-"))
