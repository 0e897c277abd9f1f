"""For the command `nightshift`, as operators cannot reach the ledger from outside its network."""

from aws_cdk import Duration

from infra.platform.functions import PlatformFunctions


def desk(functions: PlatformFunctions) -> None:
    """Two functions: who may only look is allowed to invoke the one, who may change something the other as well."""
    for name, about in (
        ("console", "Answers an operator's question from the ledger"),
        ("control", "Changes the ledger for an operator: pauses, turns dials, cancels, redrives"),
    ):
        functions.function(name, about=about, timeout=Duration.seconds(30), environment=functions.deployment)
