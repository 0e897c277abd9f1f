"""For the command `nightshift`, as operators cannot reach the ledger from outside its network."""

from aws_cdk import Duration

from infra.database import DatabaseAccess
from infra.platform.functions import PlatformFunctions
from nightshift.environment import TABLES_VARIABLE


def desk(functions: PlatformFunctions, reading: DatabaseAccess | None) -> None:
    """Two functions: who may only look is allowed to invoke the one, who may change something the other as well.

    reading: how the console connects, where it has a user of its own.
    """
    tables = {TABLES_VARIABLE: functions.settings.application_tables}  # which migrations should be there
    for name, about, access, more in (
        ("console", "Answers an operator's question from the ledger", reading, tables),
        ("control", "Changes the ledger for an operator: pauses, turns dials, cancels, redrives", None, {}),
    ):
        functions.function(
            name,
            about=about,
            timeout=Duration.seconds(30),
            environment={**functions.deployment, **more},
            database=access,
        )
