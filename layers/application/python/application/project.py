"""What this application provides to the library. Each method imports what it needs when it is called."""

from collections.abc import Sequence
from pathlib import Path

from nightshift.declaration import AfterRestore, AuditTrail, FinalFailures, People, Project

MIGRATIONS = Path(__file__).parent / "migrations"


class Example(Project):
    """The example. It provides everything that a project can provide."""

    def people(self) -> People:
        from application.people import Users

        return Users()

    def trail(self) -> AuditTrail:
        from application.trail import AuditLogTrail

        return AuditLogTrail()

    def failures(self) -> FinalFailures:
        from application.alerts.failures import FailureAlerts

        return FailureAlerts()

    def owed(self) -> AfterRestore:
        from application.erasure.again import ErasuresAgain

        return ErasuresAgain()

    def branches(self, *, tables: bool) -> Sequence[Path]:
        records, public = MIGRATIONS / "records", MIGRATIONS / "tables"
        return (records, public) if tables else (records,)

    def unsaved(self) -> dict[str, str | None]:
        """Rows that nobody misses: they are computed again, needed for a few days only, or expire within the hour."""
        return {
            "analytics_cache": None,
            "request_stats": None,
            "auth_tokens": "kind <> 'access_denylist'",
        }

    def seeded(self) -> tuple[str, ...]:
        return ("nightshift.pseudonym_keys",)


project = Example()
