"""For the command `nightshift`, as operators cannot reach the ledger from outside its network."""

from aws_cdk import Duration

from infra.database import DatabaseAccess
from infra.platform.functions import PlatformFunctions


def desk(functions: PlatformFunctions, reading: DatabaseAccess | None) -> None:
    """Two functions: who may only look is allowed to invoke the one, who may change something the other as well.

    reading: how the console connects, where it has a user of its own.
    """
    for name, about, access in (
        ("console", "Answers an operator's question from the ledger", reading),
        ("control", "Changes the ledger for an operator: pauses, turns dials, cancels, redrives", None),
    ):
        functions.function(
            name, about=about, timeout=Duration.seconds(30), environment=functions.deployment, database=access
        )
