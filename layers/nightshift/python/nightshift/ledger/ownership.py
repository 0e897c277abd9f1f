"""Which deployment a database serves. Two on one ledger would each run what the other has paused or left out."""

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.errors import SettingError
from nightshift.ledger.operators import ServedDeployment

LOCAL_ACCOUNT = "000000000000"
"""The account of the local AWS. Its deployments are trials, and any on the real AWS may follow them."""


class ForeignDatabaseError(SettingError):
    """Another deployment works on this database."""


def own(session: Session, deployment: str, *, take_over_from: str | None = None) -> None:
    """Make a deployment the one that the database serves, in the caller's transaction, if it is not yet.

    deployment: `account/region/name`. take_over_from: the same of one whose database this may be from now on.

    Raises:
        ForeignDatabaseError: it serves another one.
    """
    session.execute(_LOCK)
    newest = select(ServedDeployment.deployment).order_by(ServedDeployment.id.desc()).limit(1)
    owner = session.scalar(newest)
    if owner == deployment:
        return
    if owner is not None and owner != take_over_from and not (_is_local(owner) and not _is_local(deployment)):
        account, region, name = owner.split("/")
        raise ForeignDatabaseError(
            f"this database serves the deployment {name} of the account {account} in {region}, and a database serves "
            f"one: give {deployment} a database of its own. If that deployment is gone or lets go of this one, take it "
            f'over: set nightshift.take_over_from to "{owner}" in cdk.json and deploy again'
        )
    session.execute(insert(ServedDeployment).values(deployment=deployment, since=func.clock_timestamp()))
    telemetry.log("database.owned", deployment=deployment, before=owner)


_LOCK = text("lock table nightshift.deployments in share row exclusive mode")


def _is_local(deployment: str) -> bool:
    return deployment.startswith(f"{LOCAL_ACCOUNT}/")
