"""When the next batch begins, and how large it may be: by the strain that the database is under, by the dials of an
operator, and by freezes.

Nobody waits for a run that waits: between two batches it has no transaction open and no lock.
"""

import datetime as dt
import math
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.database.transaction import answer_of, transaction
from nightshift.deadline import Deadline
from nightshift.declaration import EventLog, Job
from nightshift.declaration.limits import Limits, limits_from
from nightshift.declaration.step import iso
from nightshift.declaration.windows import Freeze, freeze_of, freezes_from
from nightshift.engine.strain import Looked, Watch
from nightshift.errors import Held, Interrupted
from nightshift.ledger import Claim, Dials
from nightshift.ledger.dials import UNTOUCHED, dials_query, read_dials, why_not

GIVES_WAY = ("retention", "recalculation", "rollup", "lifecycle")
"""The kinds of job that watch the strain. Others are small, and some must tell of the very strain."""

TARGET_SECONDS = 0.1
"""What one transaction should take while nobody else is at work."""
POLITE_SECONDS = 0.005
"""What it should take while others are: so long at most does what it does to memory, disk and log last."""
UNSURE_SECONDS = 0.02
"""What it should take until a second look has told whether others are at work."""

LOOKS_SHARE = 0.015
"""What looks may take of a run's time."""
LEAST_SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_THE_SECOND_LOOK = 0.1
"""Only the second look tells whether somebody is at work who happened to rest at the first one. A run that is over by
then was too short to be noticed."""
OTHERS_STAY_SECONDS = 3.0
"""So long after other sessions were last seen at work a run gives way to them: they come and go."""
SLOWED_TIMES = 4
"""How much longer a slowed run rests than one that only gives way to others."""
LONGEST_REST_SECONDS = 10.0
"""What a run rests at most after a batch, however long that took, unless a dial says otherwise."""

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 1.0
"""Between two looks of a run that is held."""
RENEWED_SECONDS = 20.0
"""How often a run that waits says that it is still there."""

HELD, SLOWED = "seconds held by ", "seconds slowed by "
"""How the counters begin that tell how long a run waited, and for what."""


class _Why(NamedTuple):
    """Why a run waits."""

    by: str
    """A signal, `dial`, `hours` or `freeze`: a word of the counters."""
    words: str
    until: dt.datetime | None = None
    """When it ends, if that is known."""


class Committed(NamedTuple):
    """A batch that was committed: how long it took, how many rows it changed, and what was written with it."""

    seconds: float
    rows: int
    strain: dict[str, Any] | None
    counters: Mapping[str, int]


def is_of_time(counter: str) -> bool:
    """Whether a counter counts seconds, and nothing that was done."""
    return counter.startswith((HELD, SLOWED))


class Pacing:
    """Of one attempt. Without `watch` only the dials hold."""

    def __init__(self, session: Session, claim: Claim, deadline: Deadline, log: EventLog) -> None:
        self._session, self._claim, self._deadline, self._log = session, claim, deadline, log
        self.also = dials_query(claim.run.job)
        """What every batch asks as it begins."""
        self.dials: Dials = UNTOUCHED
        self.spent: defaultdict[str, float] = defaultdict(float)
        """How many seconds this attempt was held or slowed, by counter."""
        self._before = {name: number for name, number in claim.counters.items() if is_of_time(name)}
        self._job: Job | None = None
        self._limits = Limits()
        self._freezes: tuple[Freeze, ...] = ()
        self._watch: Watch | None = None
        self._looked = Looked()
        self._looks, self._look_seconds, self._look_after = 0, 0.0, 0.0
        self._others_until = 0.0
        self._ended, self._took, self._rows = 0.0, 0.0, 0
        self._aimed_at, self._shrunk = 0.0, 1.0
        self._told: dict[str, Any] = {}
        self._noted: dict[str, Any] = {}
        self._done: Mapping[str, int] = claim.counters
        self._unknown: dict[str, str] = {}
        self._renewed = time.monotonic()

    def watch(self, job: Job) -> None:
        """Give way from now on: to freezes, and if it is a kind of job that can wait, to strain.

        Raises:
            SettingError: the settings of the deployment cannot be meant.
        """
        self._job, self._freezes = job, freezes_from(os.environ)
        self._limits = limits_from(os.environ)
        if job.kind in GIVES_WAY and self._limits.looks:
            self._watch = Watch(self._session, self._limits, self.also)

    def at(self, tables: Sequence[str]) -> None:
        """These are the tables of the batches that follow."""
        if self._watch is not None and self._watch.at(tables):
            self._look_after = min(self._look_after, time.monotonic())

    @property
    def counters(self) -> dict[str, int]:
        """How many whole seconds the run was held and slowed, all its attempts together."""
        names = dict.fromkeys((*self._before, *self.spent))
        found = {name: self._before.get(name, 0) + int(self.spent.get(name, 0)) for name in names}
        return {name: seconds for name, seconds in found.items() if seconds}

    @property
    def strain(self) -> dict[str, Any] | None:
        """What the run says of itself in the ledger; None: what it has said there already."""
        told = {key: value for key, value in self._told.items() if value is not None}
        if self._unknown:
            told["unknown"] = dict(sorted(self._unknown.items()))
        return told if told != self._noted else None

    @property
    def batch_seconds(self) -> float:
        """What the next batch should take."""
        if self._gives_way:
            return POLITE_SECONDS
        sure = not self._minds_others or self._looks > 1
        return TARGET_SECONDS if sure else UNSURE_SECONDS

    def at_most(self, size: int, rows_each: float = 1.0, *, least: int = 1) -> int:
        """How large the next batch may be: at most `size`, in units of about so many rows.

        Less, if others have come since the last batch, behind which `size` was chosen.
        """
        size = int(size * self._shrunk)
        if (largest := self.dials.largest) is not None:
            size = min(size, int(largest / rows_each))
        return max(least, size)

    def wait(self) -> None:
        """Wait for the moment of the next batch.

        Raises:
            Held, Interrupted: it does not come soon enough; the caller gives the run back.
            Fenced: another attempt has taken the run over, or somebody has cancelled it.
        """
        self._rest()
        if (why := self._why()) is not None:
            self._hold(why)
        self._rest()  # a look may have brought a dial that wants a pause
        aims_at = self.batch_seconds
        self._shrunk = min(1.0, aims_at / (self._aimed_at or aims_at))
        self._aimed_at = aims_at

    def as_dialled(self) -> bool:
        """Whether the batch that has just begun may go on: an operator has turned no dial since `wait`."""
        answer = answer_of(self._session)
        before, self.dials = self.dials, self.dials if answer is None else read_dials(answer)
        return self.dials == before or (self._why_not_now() is None and self._rest_left() <= 0)

    def committed(self, batch: "Committed") -> None:
        """After a batch."""
        self._ended, self._took, self._rows = time.monotonic(), batch.seconds, batch.rows
        self._noted = self._noted if batch.strain is None else batch.strain
        self._done, self._aimed_at = batch.counters, self.batch_seconds

    def tell(self) -> None:
        """Log what waiting and looking have taken."""
        if self._looks or self.spent:
            spent = {name: round(seconds, 3) for name, seconds in self.spent.items()}
            self._log("run.paced", looks=self._looks, look_ms=round(self._look_seconds * 1000), seconds=spent)

    # What holds it.

    def _why(self, *, now: bool = False) -> _Why | None:
        """Why no batch may begin. now: look, even if the last look was a moment ago."""
        if (why := self._why_not_now()) is not None:
            return why
        if self._watch is not None and (now or time.monotonic() >= self._look_after):
            self._look(self._watch)
            if (why := self._why_not_now()) is not None:  # the dials came along
                return why
        for strain in self._looked.of("held"):
            return _Why(strain.signal, str(strain))
        return None

    def _why_not_now(self) -> _Why | None:
        """What needs no look at the database."""
        now = dt.datetime.now(dt.UTC)
        if self._job is not None and (freeze := freeze_of(self._freezes, self._job, now)) is not None:
            return _Why("freeze", str(freeze), freeze.until)
        if (words := why_not(self.dials, now)) is not None:
            ends = None if self.dials.held or self.dials.hours is None else self.dials.hours.next_after(now)
            return _Why("dial" if self.dials.held else "hours", words, ends)
        return None

    def _look(self, watch: Watch) -> None:
        started = time.monotonic()
        self._looked = watch.look()
        if self._looked.answer is not None:
            self.dials = read_dials(self._looked.answer)
        ended = time.monotonic()
        self._looks += 1
        self._look_seconds += ended - started
        between = max(LEAST_SECONDS_BETWEEN_LOOKS, (ended - started) / LOOKS_SHARE)
        self._look_after = ended + (SECONDS_TO_THE_SECOND_LOOK if self._looks == 1 else between)
        if self._looked.others:
            self._others_until = ended + OTHERS_STAY_SECONDS
        if new := {name: why for name, why in self._looked.unknown.items() if name not in self._unknown}:
            self._log("strain.unknown", signals=new)
        self._unknown = dict(self._looked.unknown)
        slowed = self._looked.of("slowed")
        if slowed and self._told.get("state") != "slowed":
            self._log("run.slowed", reason=str(slowed[0]))
        self._told = {"state": "slowed", "why": str(slowed[0])} if slowed else {}

    def _hold(self, why: _Why) -> None:
        """Wait until nothing holds it any more. The run says so, and stays this attempt's."""
        since, pause = time.monotonic(), FIRST_WAIT_SECONDS
        begun = iso(dt.datetime.now(dt.UTC).replace(microsecond=0))
        self._log("run.held", reason=why.words)
        self._note("held", why, begun)
        still: _Why | None = why
        while still is not None:
            if self._is_long(still, since):
                self._note("held", still, begun)
                raise Held(still.words)
            if pause == FIRST_WAIT_SECONDS:
                self._note("held", still, begun)
            noted, before = time.monotonic(), still
            time.sleep(pause)
            pause = min(LONGEST_WAIT_SECONDS, pause * 2)
            self._read_dials()
            still = self._why(now=True)
            self.spent[HELD + before.by] += time.monotonic() - noted
            if still is not None and (still.by != before.by or time.monotonic() - self._renewed > RENEWED_SECONDS):
                self._note("held", still, begun)
        self._log("run.released", seconds=round(time.monotonic() - since, 1))
        self._told = {}
        self._note(None, None, None, seconds=self._deadline.remaining + ledger.LEASE_MARGIN_SECONDS)

    def _is_long(self, why: _Why, since: float) -> bool:
        """Whether it has waited, or would wait, too long. The rest is for the next attempts: this one need not be paid
        for."""
        left = min(
            self._limits.hold_seconds - (time.monotonic() - since),
            self._deadline.remaining - self._deadline.reserve - LONGEST_WAIT_SECONDS,
        )
        lasts = why.until is not None and (why.until - dt.datetime.now(dt.UTC)).total_seconds() > left
        return left <= 0 or lasts

    def _note(self, state: str | None, why: _Why | None, since: str | None, *, seconds: float | None = None) -> None:
        self._told = {"state": state, "why": why and why.words, "since": since}
        lease = min(ledger.LEASE_SECONDS, self._deadline.remaining + ledger.LEASE_MARGIN_SECONDS)
        said = self.strain
        self._noted = self._noted if said is None else said
        counters = {**self._done, **self.counters}
        ledger.note_strain(self._session, self._claim, self._noted, counters, seconds=seconds or lease)
        self._renewed = time.monotonic()

    def _read_dials(self) -> None:
        with transaction(self._session, read_only=True, also=self.also):
            answer = answer_of(self._session)
            if answer is None:
                answer = self._session.scalar(text(self.also))
        self.dials = read_dials(answer or "[]")

    # What lets it rest.

    @property
    def _minds_others(self) -> bool:
        return self._watch is not None and self._limits.work_percent < 100

    @property
    def _gives_way(self) -> bool:
        return self._rests > 0

    @property
    def _rests(self) -> float:
        """How many times as long as a batch the pause behind it is."""
        if not self._minds_others:
            return 0.0
        slowed = bool(self._looked.of("slowed"))
        if not slowed and time.monotonic() >= self._others_until:
            return 0.0
        rest = 100 / self._limits.work_percent - 1
        return rest * (SLOWED_TIMES if slowed else 1)

    def _rest_left(self) -> float:
        """How many seconds the pause after the last batch still lasts."""
        if not self._ended:
            return 0.0
        pause = max(min(LONGEST_REST_SECONDS, self._took * self._rests), self.dials.pause_seconds or 0.0)
        if self.dials.rows_per_second:
            pause = max(pause, self._rows / self.dials.rows_per_second - self._took)
        return self._ended + pause - time.monotonic()

    def _rest(self) -> None:
        renewed = False
        while (left := self._rest_left()) > 0:
            if self._deadline.remaining - left < self._deadline.reserve:
                raise Interrupted
            slowed = self._looked.of("slowed")
            started = time.monotonic()
            time.sleep(min(left, LONGEST_WAIT_SECONDS))
            by = slowed[0].signal if slowed else "dial" if self._by_dial else "others"
            self.spent[SLOWED + by] += time.monotonic() - started
            looks = slowed and self._watch is not None and time.monotonic() >= self._look_after
            if looks and self._watch is not None:
                self._look(self._watch)  # the rest ends with the strain; the dials come along
            if left > LONGEST_WAIT_SECONDS:  # a long pause ends at once when somebody turns the dial back
                if not looks:
                    self._read_dials()
                if self._why_not_now() is not None:
                    return
                if time.monotonic() - max(self._renewed, self._ended) > RENEWED_SECONDS:
                    self._note("slowed", _Why(by, self._told.get("why") or f"it rests, as its {by} has it"), None)
                    renewed = True
        if renewed:
            self._told = {}
            self._note(None, None, None, seconds=self._deadline.remaining + ledger.LEASE_MARGIN_SECONDS)

    @property
    def _by_dial(self) -> bool:
        return bool(self.dials.pause_seconds or self.dials.rows_per_second)


def whole(seconds: Mapping[str, float], kind: str) -> float:
    """How many seconds all counters of a kind hold together."""
    return math.fsum(value for name, value in seconds.items() if name.startswith(kind))
