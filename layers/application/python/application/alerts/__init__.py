"""Alerts: each problem is noted once, and administrators are told."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from application.alerts.failures import JOB_FAILURE as JOB_FAILURE
    from application.alerts.notices import Wording as Wording, tell as tell, would_tell as would_tell
    from application.alerts.sightings import (
        Expected as Expected,
        Noted as Noted,
        Severity as Severity,
        expect_events as expect_events,
        note_events as note_events,
        resolve as resolve,
        resolve_quiet as resolve_quiet,
        sight as sight,
    )

__getattr__ = face(
    __name__,
    failures="JOB_FAILURE",
    notices="Wording tell would_tell",
    sightings="Expected Noted Severity expect_events note_events resolve resolve_quiet sight",
)
