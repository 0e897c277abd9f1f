"""Time zones by name, from the pinned package tzdata alone.

Python prefers the machine's own zone files to the package's. They are older or newer than those of the next machine, so
the synth, the functions and the command would not agree on when a local hour is.
"""

from functools import cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

PACKAGE = "tzdata"


class UnknownZoneError(ValueError):
    """There is no time zone of that name. The message is one line with the remedy."""


@cache
def zone_names() -> frozenset[str]:
    """Every name that the package knows: `Europe/Berlin`, `UTC`."""
    return frozenset(_package().joinpath("zones").read_text("utf-8").split())


@cache
def zone(name: str) -> ZoneInfo:
    """The zone of that name.

    Raises:
        UnknownZoneError: the package has no such zone. Capitals count.
    """
    if name not in zone_names():
        raise UnknownZoneError(f"no time zone is named {name!r}{_meant(name)}")
    # Names are checked, so none leads out of the folder.
    with _package().joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def _package() -> "Traversable":
    from importlib import resources  # most functions have no zone to look for

    return resources.files(PACKAGE)


def _meant(name: str) -> str:
    from difflib import get_close_matches

    by_lower = {known.lower(): known for known in sorted(zone_names())}
    ends = {known.rpartition("/")[2].lower(): known for known in sorted(zone_names(), reverse=True)}
    wanted = name.strip().lower().replace(" ", "_")
    close = by_lower.get(wanted) or ends.get(wanted) or next(iter(get_close_matches(wanted, by_lower, n=1)), None)
    return f": did you mean {by_lower.get(close, close)!r}?" if close else ": write one like 'Europe/Berlin'"
