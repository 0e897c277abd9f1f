"""A step that sends notices: a SELECT chooses the people, and their messages are written to the outbox."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from nightshift.database import by_halves
from nightshift.declaration import SAMPLE_SIZE, Batch, Execution, Parameter, Run, StepDefaults, StepPlan, fingerprint_of
from nightshift.declaration.fields import must_be, shown
from nightshift.errors import DeclarationError
from nightshift.outbox import (
    DueZone,
    LocalMoment,
    Notification,
    People,
    Via,
    Written,
    check_kind,
    due_zones,
    everybody,
    part_of,
    pending,
    people_of,
    write,
)

FromPeople = Callable[[Run, People], Select[Any]]
"""A SELECT over the people of a batch. See `nightshift.outbox.people.People` for the columns."""

ERRORS = "errors"
"""The counter of people whose time zone is unknown. They are treated as if they were in UTC."""

WHAT_ERRORS_ARE = (
    "errors: so many people have a time zone that PostgreSQL does not know; they are treated as if they were in UTC"
)
"""What a run notes beside the counter: its name does not say it."""

FIRST_PART = 1000
SMALLEST_PART = 200
LARGEST_PART = 20_000


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message to some people.

    kind: one of the folders in notices/, see `nightshift.outbox.kinds`.
    to: a function of the run and the people. It returns a SELECT made with `message(…)`: the recipient, key, title,
        body and data.
    via: the channels, each with its preference and counter.
    matched: the counter of all messages, whatever the recipients' preferences are.
    suppressed: the counter of messages that a preference kept from a channel.
    """

    kind: str
    to: FromPeople
    via: Sequence[Via]
    matched: str | None = None
    suppressed: str | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind)
        where = f"message {self.kind}:"
        must_be(callable(self.to), f"{where} to", "a function of run and people", self.to)
        like = "a tuple of channels, like (Via('email'),)"
        must_be(_holds(self.via, Via), f"{where} via", like, self.via)
        if any(via.channel == "ops" for via in self.via):
            raise DeclarationError("the channel ops belongs to no person; use tell_operators in a Function step")

    @property
    def written(self) -> tuple[str, ...]:
        return tuple(via.counter for via in self.via if via.counter)

    @property
    def counters(self) -> tuple[str, ...]:
        return tuple(name for name in (self.matched, *self.written, self.suppressed) if name)

    def counts(self, written: Written) -> Counter[str]:
        found = Counter({name: written.by_channel[via.channel] for via in self.via if (name := via.counter)})
        found.update({self.matched or "": written.matched, self.suppressed or "": written.suppressed})
        del found[""]
        return found


@dataclass(frozen=True, kw_only=True)
class Notify(StepDefaults):
    """Send notices. Each message is sent at most once. One that the database refuses is quarantined.

    at: the moment on people's own clocks. The job's schedule is then `nightshift.outbox.TICK`, and each run takes the
        people for whom the moment came since the last run, zone by zone. Without it, every run takes everybody at once,
        so there must be few messages.
    messages: the messages, in order. They are written for the same people in the same transaction.
    counting: counters of the rows of other SELECTs over the same people.
    """

    messages: Sequence[Message]
    at: LocalMoment | None = None
    counting: Mapping[str, FromPeople] = field(default_factory=dict)
    name: str = "notify"
    parameters: tuple[Parameter, ...] = ()

    tables: ClassVar[tuple[str, ...]] = (Notification.__table__.fullname,)  # type: ignore[attr-defined]
    destructive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        where = f"step {self.name}:"
        like = "a tuple of messages, like (Message(…),)"
        must_be(_holds(self.messages, Message), f"{where} messages", like, self.messages)
        moment = self.at is None or isinstance(self.at, LocalMoment)
        must_be(moment, f"{where} at", "a LocalMoment, like LocalMoment(time(18)), or None", self.at)
        for name, rows in self.counting.items():
            if not callable(rows):
                counting = f"{where} counting must give functions of run and people by counter"
                raise DeclarationError(f"{counting}; {name} is {shown(rows)}")

    @property
    def counters(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.counting, *(name for one in self.messages for name in one.counters), ERRORS)))

    @property
    def changes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for one in self.messages for name in one.written))

    def fingerprint(self, run: Run) -> str:
        people = everybody(run)
        return fingerprint_of(*(one.to(run, people) for one in self.messages))

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        parts = [everybody(run)]
        if self.at is not None:
            parts = [people_of(zone, run) for zone in due_zones(session, run, self.at)]
        plans = []
        for one in self.messages:
            found = [pending(session, run, one.to(run, part), one.via, part, SAMPLE_SIZE) for part in parts]
            sample = [key for _, keys in found for key in keys][:SAMPLE_SIZE]
            rows = sum(rows for rows, _ in found)
            plans.append(StepPlan(self.name, self.tables[0], f"notify {one.kind}", rows, sample=tuple(sample)))
        return plans

    def apply(self, execution: Execution) -> None:
        if self.at is None:
            self._tell_everybody(execution)
        else:
            with execution.session.begin():
                zones = due_zones(execution.session, execution.run, self.at)
            for zone in zones:
                self._tell_zone(execution, zone)

    def _tell_everybody(self, execution: Execution) -> None:
        if execution.position is not None:
            return
        with execution.batch() as batch:
            self._tell(batch, execution.run, everybody(execution.run))
            batch.position = {"done": True}

    def _tell_zone(self, execution: Execution, zone: DueZone) -> None:
        """The people of a zone, in parts. The position has the zone and the last recipient, or None at its end."""
        after = None
        if execution.position is not None:
            reached, last_told = execution.position["zone"], execution.position["after"]
            if reached > zone.timezone or (reached == zone.timezone and last_told is None):
                return
            after = last_told if reached == zone.timezone else None
        size, whole = FIRST_PART, False
        while not whole:
            with execution.batch() as batch:
                size = execution.at_most(size)
                last, people = part_of(batch.session, zone, after, size)
                whole = people < size
                if people:
                    self._tell(batch, execution.run, people_of(zone, execution.run, after, last))
                    _count_errors(batch, 0 if zone.valid else people)
                batch.position = {"zone": zone.timezone, "after": None if whole else last}
            after = last
            faster = execution.batch_seconds / max(execution.last_batch_seconds, 0.001)
            size = round(min(LARGEST_PART, max(SMALLEST_PART, size * min(2.0, faster))))

    def _tell(self, batch: Batch, run: Run, people: People) -> None:
        session = batch.session

        def count(names: Sequence[str]) -> int:
            rows = self.counting[names[0]](run, people).subquery()
            return session.scalar(select(func.count()).select_from(rows)) or 0

        def leave(name: str, error: str) -> None:
            batch.quarantine(f"the counter {name}", error)

        for name in self.counting:
            batch.count(**{name: sum(by_halves(session, [name], count, leave))})
        for one in self.messages:
            found = one.to(run, people)
            written = write(session, run, one.kind, found, one.via, people=people, refused=batch.quarantine)
            batch.count(**one.counts(written))
            if self.at is None:
                _count_errors(batch, written.zone_errors)


def _count_errors(batch: Batch, people: int) -> None:
    batch.count(**{ERRORS: people})
    if people:
        batch.note(WHAT_ERRORS_ARE)


def _holds(sequence: Any, kind: type) -> bool:
    """Whether it is a tuple or list of one kind of item, with at least one item."""
    return isinstance(sequence, tuple | list) and bool(sequence) and all(isinstance(each, kind) for each in sequence)
