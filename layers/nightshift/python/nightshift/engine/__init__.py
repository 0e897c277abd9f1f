"""One attempt at a run: candidates and caps, batches, and the ways through a table."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.engine.attempt import carry_out as carry_out
    from nightshift.engine.execution import RunExecution as RunExecution
    from nightshift.engine.odd_rows import (
        CAREFUL as CAREFUL,
        carefully as carefully,
        left_out as left_out,
        without_odd_rows as without_odd_rows,
    )
    from nightshift.engine.pacing import HELD as HELD, SLOWED as SLOWED, whole as whole
    from nightshift.engine.resources import Resources as Resources
    from nightshift.engine.subject import Subject as Subject
    from nightshift.engine.sweeping import Sweep as Sweep, paced as paced, sweep as sweep
    from nightshift.engine.ways import choose as choose, keys_written as keys_written, write_keys as write_keys

__getattr__ = face(
    __name__,
    attempt="carry_out",
    execution="RunExecution",
    odd_rows="CAREFUL carefully left_out without_odd_rows",
    pacing="HELD SLOWED whole",
    resources="Resources",
    subject="Subject",
    sweeping="Sweep paced sweep",
    ways="choose keys_written write_keys",
)
