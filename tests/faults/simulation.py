"""Nights in virtual time: the real ledger, handler and supervisor on a real PostgreSQL, under a seeded model of AWS.

Everything that asks the database for the time gets the simulation's (simulated.sql). A process is a thread, and only
one of them runs at a time: it gives way where it would wait, and where a fault says so. So a seed says everything that
happens, and the same seed happens again.
"""

import datetime as dt
import heapq
import inspect
import itertools
import json
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch
from weakref import WeakKeyDictionary

from pg8000.converters import make_params
from sqlalchemy import Connection, Engine, event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import Delete, Function, Job, Policy, hours
from nightshift.database import migrations
from nightshift.database.driver import drive
from nightshift.database.transaction import settings_query
from nightshift.declaration import DeployedJob, Deployment, Execution, Run
from nightshift.declaration.deployment import Misunderstood
from nightshift.declaration.discovery import Registration
from nightshift.declaration.limits import NO_LOOKS
from nightshift.engine import RunExecution
from nightshift.environment import DATABASE_VARIABLE, STRAIN_VARIABLE
from nightshift.errors import EventError, PermanentError, RunFailedError
from nightshift.ledger import RunRecord
from nightshift.operations import look_over
from nightshift.operations.control import Control
from nightshift.outbox.notices import tell_operators
from nightshift.runtime import invoke
from tests.faults.deaths import Death

START = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
NIGHT = dt.timedelta(minutes=45)
MINUTE = dt.timedelta(minutes=1)
LONGEST_REST = dt.timedelta(hours=12)
LAMBDAS_PAUSES = (60, 120)
"""Seconds before Lambda's two retries of an asynchronous invocation."""
PURGED_AFTER = hours(1)


@dataclass(frozen=True)
class Weather:
    """How likely each fault is, each time it could happen."""

    lost: float = 0.0
    """An event never arrives."""
    doubled: float = 0.0
    delayed: float = 0.0
    """By up to three hours: events overtake each other."""
    throttled: float = 0.0
    """By some minutes, and the supervisor's calls are refused."""
    struck: float = 0.0
    """An invocation meets one of `FAULTS` at one of its transactions."""
    fails: float = 0.0
    """A batch raises an error."""
    slow: float = 0.0
    """A batch takes minutes."""
    outages: float = 0.0
    """Of the database, in an hour."""
    absences: float = 0.0
    """Of the supervisor, in an hour."""
    operators: float = 0.0
    """What people do, in an hour."""


FAIR = Weather()
ROUGH = Weather(
    lost=0.1, doubled=0.1, delayed=0.1, throttled=0.1, struck=0.25, fails=0.05, slow=0.05, outages=0.7, absences=0.7,
    operators=24,
)  # fmt: skip

Fault = Literal["dies", "freezes", "loses its connection", "loses the answer", "dies after its commit"]
AT_BEGIN: tuple[Fault, ...] = ("dies", "freezes", "loses its connection")
AT_COMMIT: tuple[Fault, ...] = ("loses the answer", "dies after its commit", "dies")

POLICIES = {
    "skip-latest": Policy("skip", "latest"),
    "wait-every": Policy("wait", "every"),
    "skip-latest-late": Policy("skip", "latest", dt.timedelta(minutes=20)),
    "skip-none-late": Policy("skip", "none", dt.timedelta(minutes=10)),
    "wait-latest": Policy("wait", "latest"),
    "wait-every-late": Policy("wait", "every", dt.timedelta(hours=1)),
}
PERIODS = (2, 3, 4, 5)
"""Minutes from one occurrence to the next."""


OFTEN = ("run", "repeat", "ask")
"""What people do most, so that some of what they have asked for fails."""


def batches_of(run: Run) -> int:
    return 1 + run.now.minute % 3


class Process(threading.Thread):
    """An invocation. It runs only between `resume` and the next time that it gives way."""

    def __init__(self, world: "World", name: str, work: Callable[["Process"], None], *, seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self._world, self._work = world, work
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self.deadline = world.now + dt.timedelta(seconds=seconds)
        self.transactions = 0
        self.strike: tuple[str, int, Fault] | None = None
        self.woken = False
        """It has slept, and nobody kills it at its deadline any more."""
        self.abandoned = False
        self.escaped: BaseException | None = None

    def resume(self) -> None:
        if not self.is_alive() and self.ident is None:
            self.start()
        outer, self._world.process = self._world.process, self
        self._go.release()
        self._back.acquire()
        self._world.process = outer
        if self.escaped is not None:
            raise self.escaped

    def run(self) -> None:
        self._go.acquire()
        try:
            if not self.abandoned:
                self._work(self)
        except Death:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where the scheduler resumed it
            self.escaped = error
        finally:
            self._world.alive.discard(self)
            self._back.release()

    def give_way(self, seconds: float, *, frozen: bool = False) -> None:
        """Time passes. An invocation that meets its deadline meanwhile is killed there, unless it is frozen."""
        self.woken = self.woken or frozen
        end = self._world.now + dt.timedelta(seconds=seconds)
        killed = not self.woken and end >= self.deadline
        self._world.at(max(self._world.now, self.deadline) if killed else end, self.resume)
        self._back.release()
        self._go.acquire()
        if killed or self.abandoned:
            raise Death

    @property
    def left(self) -> float:
        return (self.deadline - self._world.now).total_seconds()

    def reach(self, point: Literal["begin", "commit"], connection: Connection) -> None:
        """A transaction begins, or is committed."""
        self.transactions += point == "begin"
        if self.strike is None or self.strike[:2] != (point, self.transactions):
            return
        fault, self.strike = self.strike[2], None
        self._world.happened[fault] += 1
        if fault in ("loses the answer", "dies after its commit"):
            connection.connection.commit()
        if fault in ("dies", "dies after its commit"):
            raise Death
        if fault == "freezes":
            self.give_way(self._world.random.choice((100, 400, 1500)), frozen=True)
        else:
            connection.info["lost"] = True
            raise ConnectionResetError


class World:
    """One night, as the seed wills it."""

    def __init__(self, database: Engine, seed: int, weather: Weather = ROUGH, night: dt.timedelta = NIGHT) -> None:
        """night: how long faults happen. Then all is well, and everything must come to rest."""
        self.database, self.seed, self.weather = database, seed, weather
        self.random = random.Random(seed)  # noqa: S311 - chance, and no secret
        self.now, self.end = START, START + night
        self.process: Process | None = None
        self.alive: set[Process] = set()
        self.happened: Counter[str] = Counter()
        self.violations: list[str] = []
        self.told: list[Mapping[str, Any]] = []
        """What arrived in the dead-letter queue."""
        self.rounds: list[dt.datetime] = []
        """When the supervisor has done a round."""
        self.outages = 0
        self._away_until = self._absent_until = START
        self._events: list[tuple[dt.datetime, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._free = KEPT.setdefault(database, [])
        self.jobs = self._declared()
        self.deployment = Deployed((), {}, {name: deployed(job) for name, job in self.jobs.items()})

    def _declared(self) -> dict[str, Job]:
        jobs = [self._job(f"{name}-{n}", policy) for name, policy in POLICIES.items() for n in (1, 2)]
        return {job.name: job for job in (*jobs, self._purge())}

    def _job(self, name: str, policy: Policy) -> Job:
        work = partial(_work, self, self.random.random() < 0.5)
        step = Function(name="work", apply=work, plan=lambda session, run: [], counters=("done",), changes=("done",))
        timeout = dt.timedelta(seconds=self.random.choice((60, 120, 300)))
        schedule = f"cron({self.random.randrange(4)}/{self.random.choice(PERIODS)} * * * ? *)"
        return Job(
            name=name, kind="report", schedule=schedule, steps=(step,), policy=policy, audited=False, timeout=timeout
        )

    def _purge(self) -> Job:
        step = Delete("aged", older_than=PURGED_AFTER, measured_by="at")
        timeout = dt.timedelta(seconds=60)
        schedule = "cron(7 * * * ? *)"
        return Job(name="purge", kind="retention", schedule=schedule, steps=(step,), audited=False, timeout=timeout)

    def at(self, when: dt.datetime, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what))

    def chance(self, likely: float) -> bool:
        return self.random.random() < likely

    # --- The night ---------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Everything that happens, until it has come to rest."""
        with self._patched():
            try:
                self._prepare()
                while self.now < self.end + 10 * MINUTE or not self._at_rest():
                    if self.now > self.end + LONGEST_REST:
                        self.violations.append("it never came to rest")
                        return
                    until = self.now + 10 * MINUTE
                    while self._events[0][0] <= until:
                        self.now, _, what = heapq.heappop(self._events)
                        what()
                    self.now = until
            finally:
                self._abandon()

    def _prepare(self) -> None:
        with self.database.begin() as connection:
            connection.execute(text("truncate nightshift.jobs, nightshift.notifications, aged cascade"))
            connection.execute(
                text("truncate simulated.effects, simulated.violations, simulated.grants, simulated.gone")
            )
            ages = [START + MINUTE * self.random.uniform(-300, 300) for _ in range(60)]
            connection.execute(
                text("insert into aged (at) select unnest(cast(:ages as timestamptz[]))"), {"ages": ages}
            )
            names = text(
                "insert into nightshift.jobs (name, registered_at, accounted_until)"
                " select unnest(cast(:names as text[])), :start, :start"
            )
            connection.execute(names, {"names": list(self.jobs), "start": START})
        self._supervise()
        for job in self.jobs.values():
            self._schedule(job, START - MINUTE)
        for minute in range(int((self.end - START) / MINUTE)):
            hourly = self.weather.outages, self.weather.absences, self.weather.operators
            for often, what in zip(hourly, (self._outage, self._absence, self._operate), strict=True):
                if self.chance(often / 60):
                    self.at(START + MINUTE * (minute + self.random.random()), what)
        self.at(self.end, self._clear_up)

    def _clear_up(self) -> None:
        """The night is over: whatever has begun still ends as it must, but nothing new goes wrong."""
        self.weather = FAIR
        self._away_until = self._absent_until = self.now
        for process in self.alive:
            process.strike = None
        with self.session() as session:
            for name in self.jobs:
                with suppress(EventError), session.begin():  # which is not paused
                    Control(session, self.deployment).resume(job=name, by="an operator", reason="the end of the night")

    def _at_rest(self) -> bool:
        open_runs = text(
            "select exists (select from nightshift.runs where scheduled_for < :end"
            " and state in ('queued', 'running', 'interrupted', 'retrying'))"
        )
        with self.database.connect() as connection:
            return not connection.scalar(open_runs, {"end": self.end}) and not self.alive

    def _abandon(self) -> None:
        for process in list(self.alive):
            process.abandoned = True
            with suppress(Exception):
                process.resume()
            process.join()

    # --- EventBridge and Lambda --------------------------------------------------------------------------------------

    def _schedule(self, job: Job, after: dt.datetime) -> None:
        """The rule fires within its minute, and again at its next time."""
        due = job.timetable.next_after(after)
        assert due is not None
        fires = due + dt.timedelta(seconds=self.random.uniform(0, 50))

        def fire() -> None:
            self._schedule(job, due)
            payload = {"detail-type": "Scheduled Event", "source": "aws.events", "time": fires.isoformat()}
            self._announce(job, payload)

        self.at(fires, fire)

    def _announce(self, job: Job, payload: Mapping[str, Any]) -> None:
        if self.chance(self.weather.lost):
            self.happened["lost"] += 1
            return
        request_id = self._id()
        deliveries = [request_id]
        if self.chance(self.weather.doubled):
            self.happened["doubled"] += 1
            deliveries.append(self.random.choice((request_id, self._id())))
        for each in deliveries:
            delay = self.random.uniform(0, 2)
            if self.chance(self.weather.delayed):
                self.happened["delayed"] += 1
                delay += self.random.choice((30, 200, 2_000, 10_000)) * self.random.random()
            if self.chance(self.weather.throttled):
                self.happened["throttled"] += 1
                delay += self.random.uniform(60, 400)
            self._invoke(job, payload, each, delay, tries=1)

    def _invoke(self, job: Job, payload: Mapping[str, Any], request_id: str, delay: float, *, tries: int) -> None:
        """An asynchronous invocation, which Lambda repeats twice, and then puts into the queue."""

        def begin() -> None:
            process = Process(self, request_id, invocation, seconds=job.timeout.total_seconds())
            if self.chance(self.weather.struck):
                point: Literal["begin", "commit"] = self.random.choice(("begin", "commit"))
                fault = self.random.choice(AT_BEGIN if point == "begin" else AT_COMMIT)
                process.strike = (point, self.random.randint(1, 6), fault)
            self.alive.add(process)
            process.resume()

        def invocation(process: Process) -> None:
            context = SimpleNamespace(
                aws_request_id=request_id, get_remaining_time_in_millis=lambda: int(process.left * 1000)
            )
            try:
                invoke(job, payload, context)
            except Death:
                failed("Sandbox.Timedout")
            except (RunFailedError, EventError) as refusal:
                failed(str(refusal))

        def failed(error: str) -> None:
            self.happened["invocations failed"] += 1
            if tries <= len(LAMBDAS_PAUSES):
                self._invoke(job, payload, request_id, LAMBDAS_PAUSES[tries - 1], tries=tries + 1)
            else:
                self.told.append({"job": job.name, "payload": payload, "error": error})

        self.at(self.now + dt.timedelta(seconds=delay), begin)

    def _id(self) -> str:
        return str(self._uuid())

    def _uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    # --- The supervisor, and people ----------------------------------------------------------------------------------

    def _supervise(self) -> None:
        self.at(self.now + MINUTE, self._supervise)
        if self.now < self._absent_until:
            return

        def invoke_later(function: str, payload: Mapping[str, Any]) -> None:
            self._strike_the_supervisor()
            if self.chance(self.weather.throttled):
                raise RuntimeError("TooManyRequestsException")
            self._announce(self.jobs[function.removeprefix("nightshift-")], payload)

        def report(record: Mapping[str, Any]) -> None:
            self._strike_the_supervisor()
            self.told.append({"run_id": record["requestPayload"]["run_id"], "error": record["responsePayload"]})

        with suppress(Death, OSError), self.session() as session:
            done = look_over(session, self.deployment, invoke_later, report)
            self.happened["hindered"] += done.hindered
            if not done.hindered:
                self.rounds.append(self.now)

    def _strike_the_supervisor(self) -> None:
        if self.chance(self.weather.struck / 10):
            self.happened["the supervisor dies"] += 1
            raise Death

    def _outage(self) -> None:
        self.happened["outages"] += 1
        self.outages += 1
        self._away_until = self.now + dt.timedelta(seconds=self.random.choice((5, 60, 400)))

    def _absence(self) -> None:
        self.happened["absences"] += 1
        self._absent_until = self.now + MINUTE * self.random.choice((3, 10, 45))

    def _operate(self) -> None:
        """Somebody does something. It may be refused."""
        job = self.random.choice(sorted(self.jobs))
        command = self.random.choice((*OFTEN, *OFTEN, "pause", "resume", "resume", "cancel", "redrive", "plan"))
        self.happened[command] += 1
        who = {"by": "an operator", "reason": "a reason"}
        with suppress(EventError, OSError), self.session() as session:
            control = Control(session, self.deployment)
            states = ["failed", "cancelled"] if command == "redrive" else ["queued", "running", "interrupted"]
            if command in ("cancel", "redrive"):
                wanted = select(RunRecord.id).where(RunRecord.state.in_(states)).order_by(RunRecord.id)
                found = session.scalars(wanted).all()
                session.rollback()
                if found:
                    with session.begin():
                        which = {"run_id": str(self.random.choice(found)), "by": "an operator"}
                        control.redrive(**which) if command == "redrive" else control.cancel(**which, reason="a reason")
            elif command in ("pause", "resume"):
                with session.begin():
                    control.pause(job=job, **who) if command == "pause" else control.resume(job=job, **who)
            else:
                self._ask(session, job, command)

    def _ask(self, session: Session, job: str, command: str) -> None:
        """Somebody calls the function: anew, for an occurrence that was left out, waiting for the answer, or dry."""
        left_out = text("select scheduled_for from nightshift.runs where job = :job and not forced order by 1")
        times = session.scalars(left_out, {"job": job}).all()
        payload: dict[str, Any] = {"dry_run": command == "plan"}
        if command == "repeat" and times:
            payload["scheduled_for"] = self.random.choice(times).isoformat()
            payload["force"] = self.chance(0.3)
            payload["trigger"] = self.random.choice(("manual", "backfill"))
        if command == "ask":
            payload["once"] = True
        self._invoke(self.jobs[job], payload, self._id(), 0, tries=3 if command == "ask" else 1)

    # --- The database ------------------------------------------------------------------------------------------------

    @contextmanager
    def session(self, *_: Any, **__: Any) -> Iterator[Session]:
        """In place of `nightshift.database.session_for`: the same transactions, on connections that are kept."""
        if self.now < self._away_until:
            raise ConnectionRefusedError
        connection = self._free.pop() if self._free else self.database.connect()
        connection.info.clear()
        connection.info["outages"] = self.outages
        try:
            with Session(connection, expire_on_commit=False) as session:
                yield session
        finally:
            connection.rollback()
            connection.connection.rollback()  # after a commit that failed, SQLAlchemy takes nothing for open
            self._free.append(connection)

    def _begin(self, connection: Connection) -> None:
        if "outages" not in connection.info:
            return
        if self.process is not None:
            self.process.reach("begin", connection)
        self._refuse_if_lost(connection)
        driver: Any = connection.connection.dbapi_connection
        driver.execute_simple(f"begin transaction; {settings_query(connection)}; {self.clock_query()}")

    def _commit(self, connection: Connection) -> None:
        self._refuse_if_lost(connection)
        if self.process is not None and "outages" in connection.info:
            self.process.reach("commit", connection)

    def _refuse_if_lost(self, connection: Connection, *_: Any) -> None:
        info = connection.info
        if "outages" in info and (info["outages"] != self.outages or "lost" in info):
            raise ConnectionResetError

    def _hear(self, said: str, cause: BaseException | None = None, /, **fields: Any) -> None:
        """No fault of the simulation is an error of the server: that would be one of a statement."""
        if isinstance(cause, DBAPIError):
            self.violations.append(f"{said} {fields}: {cause}")

    def clock_query(self) -> str:
        process = self.process.name if self.process is not None else ""
        return (
            f"set local simulated.now to '{self.now.isoformat()}'; set local simulated.process to '{process}';"
            " set local search_path to simulated, pg_catalog, public"
        )

    def _sleep(self, seconds: float) -> None:
        assert self.process is not None
        self.process.give_way(seconds)

    @contextmanager
    def _patched(self) -> Iterator[None]:
        nothing = lambda *_, **__: None  # noqa: E731
        # No look at the server: its sessions live in true time, and all at once.
        environment = {DATABASE_VARIABLE: f'{{"url": "{self.database.url}"}}', STRAIN_VARIABLE: json.dumps(NO_LOOKS)}
        with ExitStack() as patches:
            logger = SimpleNamespace(append_keys=nothing)
            said = {"log": nothing, "warn": nothing, "measure": nothing, "error": self._hear, "logger": lambda: logger}
            for name, instead in said.items():
                patches.enter_context(patch(f"nightshift.telemetry.{name}", instead))
            patches.enter_context(patch("nightshift.runtime.reach.session_for", self.session))
            patches.enter_context(patch("nightshift.runtime.reach.time", SimpleNamespace(sleep=self._sleep)))
            patches.enter_context(patch("nightshift.ledger.claims.uuid", SimpleNamespace(uuid4=self._uuid)))
            patches.enter_context(patch.dict("os.environ", environment))
            patches.enter_context(patch("nightshift.database.driver.Connection.execute_unnamed", _execute_prepared))
            patches.enter_context(patch("inspect.getsource", _source))
            for name, listener in (
                ("begin", self._begin),
                ("commit", self._commit),
                ("before_cursor_execute", self._refuse_if_lost),
            ):
                event.listen(self.database, name, listener)
                patches.callback(event.remove, self.database, name, listener)
            yield


@dataclass(frozen=True)
class Deployed(Deployment):
    """The simulation's jobs, in place of those in the project's folders."""

    found: Mapping[str, DeployedJob] = field(default_factory=dict)

    def jobs(self) -> dict[str, DeployedJob]:
        return dict(self.found)

    def understood(self) -> tuple[dict[str, DeployedJob], dict[str, Misunderstood]]:
        return dict(self.found), {}


def deployed(job: Job) -> DeployedJob:
    registration = Registration(job, "simulated", "simulated", "A rule.")
    return DeployedJob(registration, job.timetable, job.resolve({}))


def _work(world: World, may_be_lost: bool, execution: Execution) -> None:
    """The job: some batches, each of which writes one row, and the first of which tells the operators."""
    process = world.process
    assert process is not None
    assert isinstance(execution, RunExecution)
    total = batches_of(execution.run)
    while (done := (execution.position or {"done": 0})["done"]) < total:
        process.give_way(
            world.random.uniform(50, 400) if world.chance(world.weather.slow) else world.random.random() * 9
        )
        with execution.batch(may_be_lost=may_be_lost) as batch:
            row = {"run": execution.run.id, "number": done, "epoch": execution.claim.epoch, "now": execution.run.now}
            batch.session.execute(text("insert into simulated.effects values (:run, :number, :epoch, :now)"), row)
            if world.chance(world.weather.struck / 10):
                world.happened["freezes in a batch"] += 1
                process.give_way(world.random.choice((20, 100, 400)), frozen=True)
                batch.session.connection().exec_driver_sql(world.clock_query())
            if world.chance(world.weather.fails):
                world.happened["a batch fails"] += 1
                raise PermanentError("of no use") if world.chance(0.2) else RuntimeError("perhaps the next time")
            if done == 0:
                told = tell_operators(batch.session, execution.run, key=str(execution.run.id), title="A", body="B")
                batch.count(told=told)
            batch.position = {"done": done + 1}
            batch.count(done=1)


KEPT: WeakKeyDictionary[Engine, list[Connection]] = WeakKeyDictionary()
"""Connections that no process has, and that the next night takes."""


def close_connections(database: Engine) -> None:
    for connection in KEPT.pop(database, ()):
        connection.close()


_source = cache(inspect.getsource)
"""What a step's fingerprint is made of, read once."""


def _execute_prepared(driver: Any, statement: str, vals: Any = (), oids: Any = (), stream: Any = None) -> Any:
    """In place of the driver's own way: what was prepared once is not planned again."""
    assert stream is None, "no job of the simulation copies"
    driver.begin_now()
    known: dict[tuple[str, tuple[int, ...]], Any] = vars(driver).setdefault("prepared", {})
    this = statement, tuple(oids)
    if this not in known:
        known[this] = driver.prepare_statement(statement, oids)
    name, columns, readers = known[this]
    return driver.execute_named(name, make_params(driver.py_types, vals), columns, readers, statement)


def prepare(database: Engine) -> None:
    """An empty database gets what the simulation needs."""
    drive(database)
    migrations.upgrade(database)
    with database.begin() as connection:
        connection.exec_driver_sql(Path(__file__).with_name("simulated.sql").read_text())
