"""How backfills and past occurrences are shown to a person."""

import datetime as dt
from collections.abc import Iterable, Iterator

from rich.table import Table

from cli.screen import Answer, Part, counters, styled, table
from cli.times import shown

DOES = {"run": "runs", "run again": "runs again", "keep": "is left as it is"}
MOST_SHOWN = 100


def asked(answer: Answer, now: dt.datetime) -> Iterator[Part]:
    """What a backfill does with each occurrence, and where to look."""
    found = answer["occurrences"]
    yield occurrences(found[:MOST_SHOWN], now)
    if len(found) > MOST_SHOWN:
        yield f"and {len(found) - MOST_SHOWN:,} later ones: see --json"
    to_run = sum(each["does"] != "keep" for each in found)
    yield f"{to_run:,} of {len(found):,} occurrences run; {len(found) - to_run:,} are left as they are"
    if "backfill" not in answer:
        yield "Nothing was asked for"
    elif to_run:
        backfill = answer["backfill"]["backfill_id"]
        yield f"The supervisor works it off, the oldest first. To see how far it is: nightshift backfills ({backfill})"


def occurrences(found: Iterable[Answer], now: dt.datetime) -> Table:
    rows = table("Occurrence (UTC)", "Until now", "Backfill")
    for each in found:
        rows.add_row(shown(each["scheduled_for"], now), styled(each["outcome"] or "has no run"), DOES[each["does"]])
    return rows


def backfills(found: Iterable[Answer], now: dt.datetime) -> Table:
    rows = table("Backfill", "Job", "From (UTC)", "To (UTC)", "State", "Progress", "Runs", "By", "Why")
    for each in found:
        rows.add_row(
            each["backfill_id"],
            each["job"],
            shown(each["since"], now),
            shown(each["until"], now),
            styled(each["state"]),
            f"{each['done']:,} of {each['occurrences']:,}",
            counters(each["counts"]),
            each["by"],
            each["told"] or each["reason"],
        )
    return rows
