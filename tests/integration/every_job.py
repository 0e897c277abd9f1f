"""What holds for every job, whatever it does. The example's jobs and a project's own inherit the same tests."""

import datetime as dt
import json
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import Engine, literal_column, text
from sqlalchemy.orm import Session

from nightshift import Delete, Job, Run
from nightshift.deadline import Deadline
from nightshift.declaration import registry
from nightshift.declaration.partitions import PARTITION_BYTES
from nightshift.engine import ways
from nightshift.engine.subject import Explain, Subject
from nightshift.engine.ways import HeapWalk, RangeWalk
from nightshift.environment import DATABASE_VARIABLE
from nightshift.errors import RunFailedError
from nightshift.steps import Notify, RowStep
from nightshift.store import files
from tests.conftest import ON_EMPTY_TABLES, NewDatabase
from tests.faults.deaths import Death, Kind, Life, Refusal, Sleep, ends_of_lives, let_the_lease_end
from tests.integration.conftest import Invoke

SECOND = dt.timedelta(seconds=1)

LEDGER = {f"nightshift.{table}" for table in ("jobs", "runs", "attempts", "quarantine")}

REPORTING = {"rollup", "report", "check"}
"""Kinds of job that write down how things stand, also when nothing has happened."""

READING = ("Get", "List", "Head", "Describe", "Decrypt")
"""How operations of AWS begin that change nothing."""

MOST_DEATHS = 500
"""More than a run on a test's rows has statements, commits and calls."""

MOST_BATCHES = 50
"""More than any job needs for a test's rows: a run with more does not move on when it is interrupted."""

STORES = {"files", "snapshots"}
"""Needs outside the database, of which a second run would find what the first one left there."""

RESULT_KEYS = {"job", "run_id", "scheduled_for", "outcome", "duration_ms", "counters", "errors"}


class EveryJob:
    """The tests. A class that inherits them says for which jobs, on which rows, and as of when."""

    jobs: ClassVar[Sequence[str]]
    rows: ClassVar[Path]
    """SQL that makes rows. Where there is none, jobs are tested on empty tables."""
    now: ClassVar[dt.datetime]
    unindexed: ClassVar[Collection[str]] = ()
    """What a plan may name as a missing index all the same: the referring table is small."""
    demands_rows: ClassVar[bool] = False
    """A job that destroys or notifies, and finds no row to do it with, is an error."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        jobs = [registry()[name].job for name in self.jobs]
        if "repeatable" in metafunc.fixturenames:
            # A check writes down what it found, each time.
            metafunc.parametrize("job", [job.name for job in jobs if job.kind != "check"], indirect=True)
        elif "row_step" in metafunc.fixturenames:
            found = [(job.name, step) for job in jobs for step in job.steps if isinstance(step, RowStep)]
            ids = [f"{name}-{step.name}" for name, step in found]
            metafunc.parametrize(("job", "row_step"), found, ids=ids, indirect=["job"])
        elif "in_small_batches" in metafunc.fixturenames:
            # Both ways through a table for the jobs that sweep one: to all others they are the same.
            ways = [
                (job.name, way)
                for job in jobs
                for way in ("heap", "range")
                if way == "heap" or any(isinstance(step, RowStep) for step in job.steps)
            ]
            metafunc.parametrize(("job", "in_small_batches"), ways, indirect=True)
        elif "job" in metafunc.fixturenames:
            metafunc.parametrize("job", [job.name for job in jobs], indirect=True)

    @pytest.fixture
    def job(self, request: pytest.FixtureRequest) -> Job:
        """Each job in turn, with what it needs: the fixture that has the need's name."""
        job = registry()[request.param].job
        for need in sorted(job.needs):
            request.getfixturevalue(need)
        return job

    @pytest.fixture
    def repeatable(self, job: Job) -> Job:
        """Each job that finds nothing to do the second time."""
        return job

    @pytest.fixture
    def populated(self, database: Engine) -> Engine:
        """The test's database with rows for the jobs."""
        if self.rows.is_file():
            with database.begin() as connection:
                connection.exec_driver_sql(self.rows.read_text())
        return database

    @pytest.fixture
    def in_small_batches(
        self, request: pytest.FixtureRequest, populated: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One of the two ways through a table, forced, in batches so small that every step needs several."""
        with populated.begin() as connection:
            connection.execute(text("analyze"))
        monkeypatch.setattr(ways, "DENSE_SHARE", -1 if request.param == "heap" else 2)
        for limit in ("smallest", "first", "largest"):
            monkeypatch.setattr(HeapWalk, limit, 1)
            monkeypatch.setattr(RangeWalk, limit, 3)

    @pytest.fixture
    def undisturbed(
        self,
        job: Job,
        populated: Engine,
        new_database: NewDatabase,
        invoke_job: Invoke,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Callable[[], tuple[dict[str, Any], Engine]]]:
        """Run the job to its end on a copy of the database: what it answers, and the copy."""
        with ExitStack() as copies:

            def run() -> tuple[dict[str, Any], Engine]:
                copy = copies.enter_context(new_database(template=str(populated.url.database)))
                with monkeypatch.context() as patch:
                    patch.setenv(DATABASE_VARIABLE, json.dumps({"url": copy.url.render_as_string(False)}))
                    return invoke_job(job, at=self.now), copy

            yield run

    def test_it_is_declared_well(self, job: Job) -> None:
        registration = registry()[job.name]

        assert callable(import_module(registration.module).handler)
        assert job.timetable.next_after(self.now) is not None, f"the schedule {job.schedule} never fires"
        assert set(job.resolve({})) <= {parameter.name for parameter in job.all_parameters}
        assert all(set(step.changes) <= set(step.counters) for step in job.steps), "changes are counters too"

    def test_a_doubled_delivery_changes_nothing(self, job: Job, populated: Engine, invoke_job: Invoke) -> None:
        first = invoke_job(job, at=self.now)
        before = digests(populated)

        second = invoke_job(job, at=self.now)

        assert second == first
        assert digests(populated) == before

    def test_a_repetition_changes_nothing_but_its_own_record(
        self, repeatable: Job, populated: Engine, invoke_job: Invoke
    ) -> None:
        job = repeatable
        invoke_job(job, at=self.now)
        before = application(populated)

        forced = invoke_job(job, {"force": True}, at=self.now)

        assert (forced["outcome"], job.changed(forced["counters"])) == ("succeeded", 0)
        assert application(populated) == before

        if job.kind not in REPORTING:
            later = invoke_job(job, at=self.now + SECOND)

            assert (later["outcome"], job.changed(later["counters"])) == ("succeeded", 0)
            assert application(populated) == before

    @pytest.mark.usefixtures("in_small_batches")
    def test_a_plan_changes_nothing_and_counts_what_the_run_then_changes(
        self,
        job: Job,
        populated: Engine,
        invoke_job: Invoke,
        session: Session,
        request: pytest.FixtureRequest,
    ) -> None:
        before = application(populated)

        planned = invoke_job(job, {"dry_run": True}, at=self.now)

        assert planned["outcome"] == "planned"
        assert application(populated) == before, "the plan changed something"

        done = invoke_job(job, at=self.now)

        assert counted(job, planned["plan"]["steps"]) == changed(job, done["counters"]), "the plan counted otherwise"
        if self.demands_rows:
            must_change = job.destructive or any(isinstance(step, Notify) for step in job.steps)
            assert job.changed(done["counters"]) > 0 or not must_change, f"add rows to {self.rows.name} for this job"
            zeros = {name for name, n in done["counters"].items() if not n}
            assert job.kind != "rollup" or zeros == {"quarantined"}, f"add rows to {self.rows.name} that it counts"
        elif not any(step["rows"] for step in planned["plan"]["steps"]):
            request.node.user_properties.append((ON_EMPTY_TABLES, job.name))
        self.also(job, done["counters"], session)

    def also(self, job: Job, counters: Mapping[str, Any], session: Session) -> None:
        """What else must hold after a run with these counters."""

    def test_a_run_interrupted_after_every_batch_ends_like_an_undisturbed_one(
        self,
        job: Job,
        populated: Engine,
        invoke_job: Invoke,
        undisturbed: Callable[[], tuple[dict[str, Any], Engine]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        planned = invoke_job(job, {"dry_run": True}, at=self.now)
        # A check measures the database itself, and a copy is another one.
        others = [] if job.needs & STORES or job.kind == "check" else [undisturbed(), undisturbed()]
        monkeypatch.setattr(Deadline, "near", True)
        monkeypatch.setattr(files, "AT_ONCE", 1)

        result = invoke_job(job, at=self.now)
        attempts = 1
        while result["outcome"] == "interrupted" and attempts < MOST_BATCHES:
            result = invoke_job(job, {"run_id": result["run_id"]})
            attempts += 1

        assert result["outcome"] == "succeeded", f"it does not end when it is interrupted: {attempts} attempts"
        assert attempts >= len(job.steps)
        assert counted(job, planned["plan"]["steps"]) == changed(job, result["counters"])
        if others:
            (first, one), (_, other) = others
            assert alike(populated, one, other)
            assert without_batches(result["counters"]) == without_batches(first["counters"])

    @pytest.mark.parametrize("kind", ["dies", "loses the answer"])
    def test_a_run_that_dies_at_every_point_ends_like_an_undisturbed_one(
        self,
        job: Job,
        kind: Kind,
        populated: Engine,
        invoke_job: Invoke,
        undisturbed: Callable[[], tuple[dict[str, Any], Engine]],
    ) -> None:
        """The first attempt dies at its first statement, commit or call to AWS, the next at its second, and so on.

        Each dies a little further on than the one before, from some point on by more than one.
        """
        others = [] if job.needs & STORES or job.kind == "check" else [undisturbed(), undisturbed()]
        result, ends = None, ends_of_lives()
        deaths = 0
        while result is None:
            deaths += 1
            life = Life(ends_at=next(ends), kind=kind)
            with suppress(Death), life.lived():
                result = invoke_job(job, at=self.now)
            let_the_lease_end(populated)
            assert deaths < MOST_DEATHS, f"it does not end: {life.points[-1]}"

        assert deaths > (2 if kind == "dies" else 1)
        assert result["outcome"] == "succeeded"
        if others:
            (first, one), (_, other) = others
            assert alike(populated, one, other)
            assert without_batches(result["counters"]) == without_batches(first["counters"])

    def test_an_error_of_aws_at_any_call_ends_the_attempt_at_most_and_is_told(
        self, job: Job, populated: Engine, invoke_job: Invoke
    ) -> None:
        """From its first call on AWS refuses everything, then from its second on, and so on. Then all is well.

        It answers with an error of its own and, in turn, that there are too many calls.
        """
        result: dict[str, Any] = {}
        for after, _ in zip(ends_of_lives(), range(MOST_DEATHS), strict=False):
            code, status = (("InternalError", 500), ("SlowDown", 503))[after % 2]
            refusal, failed = Refusal(after=after - 1, code=code, status=status), ""
            try:
                with refusal.met():
                    result = invoke_job(job, at=self.now)
            except RunFailedError as error:
                failed = str(error)
            assert refusal.refused or not failed, f"it failed for another reason: {failed}"
            assert failed.isprintable()
            let_the_lease_end(populated)
            with populated.begin() as connection:
                connection.execute(text("update nightshift.runs set attempts = 0 where state = 'retrying'"))
            if not refusal.refused:
                break
            if result.get("outcome") == "succeeded":  # it has told of what AWS refused, and left that for the next run
                assert result["errors"] or result["counters"].get("unknown") or job.kind == "check"
                break
        assert invoke_job(job, at=self.now)["outcome"] == "succeeded"

    def test_an_attempt_that_wakes_too_late_changes_nothing(
        self,
        job: Job,
        populated: Engine,
        invoke_job: Invoke,
        undisturbed: Callable[[], tuple[dict[str, Any], Engine]],
    ) -> None:
        """It falls asleep between two of its transactions, and another attempt takes the run over and ends it."""
        others = [] if job.needs & STORES or job.kind == "check" else [undisturbed()]
        whole = Sleep(before=0)
        with whole.slept():
            others += [undisturbed()] if others else []
        done: list[dict[str, Any]] = []

        def another() -> None:
            let_the_lease_end(populated)
            done.append(invoke_job(job, at=self.now))

        sleep = Sleep(max(3, whole.transactions // 2), another)
        with sleep.slept():
            result = invoke_job(job, at=self.now)

        assert done == [result]
        assert result["outcome"] == "succeeded"
        assert [call for call in sleep.calls_afterwards if not call.startswith(READING)] == []
        if others:
            (first, one), (_, other) = others
            assert alike(populated, one, other)
            assert without_batches(result["counters"]) == without_batches(first["counters"])

    def test_the_rows_of_a_step_are_found_through_an_index(self, job: Job, row_step: RowStep, session: Session) -> None:
        """A declared index may be partial: that its condition serves the step's is for the planner to say."""
        run = Run(uuid.uuid4(), job.name, self.now, parameters=job.resolve({}))
        subject = row_step.subject(session, run)
        session.execute(text("set local enable_seqscan = off"))
        explained = session.execute(Explain(subject.rows(literal_column("1")).where(subject.workable))).scalar_one()
        own = {(subject.facts.schema, subject.facts.name)} | {
            tuple(leaf.name.rsplit(".", 1)) for portion in subject.facts.portions for leaf in portion.leaves
        }
        read_whole = [
            node
            for node in nodes(explained[0]["Plan"])
            if node["Node Type"] == "Seq Scan" and (node["Schema"], node["Relation Name"]) in own
        ]
        assert not read_whole, (
            f"{row_step.name} of {job.name} reads the whole of {row_step.table_name} to find its rows: "
            f"{missing_index(subject, read_whole[0])}"
        )
        missing = {statement for plan in row_step.plan(session, run) for statement in plan.missing}
        unindexed = sorted(missing.difference(self.unindexed))
        assert not unindexed, f"each row that {row_step.name} of {job.name} touches costs a whole table: {unindexed}"

    def test_empty_tables_give_zeros(self, job: Job, database: Engine, invoke_job: Invoke) -> None:
        before = application(database)

        result = invoke_job(job, at=self.now)

        assert set(result) == RESULT_KEYS
        assert (result["job"], result["scheduled_for"]) == (job.name, f"{self.now:%Y-%m-%dT%H:%M:%SZ}")
        assert (result["outcome"], result["errors"]) == ("succeeded", [])
        counters = result["counters"]
        assert set(counters) - {"cutoff"} == set(job.counters)
        assert counters["quarantined"] == 0
        if job.kind not in REPORTING:
            whole = of_partitions(job)  # an old one goes as a whole although it is empty
            assert {name for name, value in counters.items() if value != 0} <= {"batches", "cutoff"} | whole
            assert application(database) == before


def digests(engine: Engine) -> dict[str, str]:
    """One digest of each table's rows, the order of the rows aside."""
    return _of_each_table(engine, "md5(string_agg(row::text, '|' order by row::text))")


def without_numbers(engine: Engine) -> dict[str, str]:
    """The same, without the numbers that a table gives its rows: what was rolled back has used some up."""
    row = "(to_jsonb(row) - array(select attname::text from pg_attribute where attrelid = '{table}'::regclass"
    row += " and attidentity <> ''))::text"
    found = _of_each_table(engine, f"md5(string_agg({row}, '|' order by {row}))")
    return {table: digest for table, digest in found.items() if table not in LEDGER}


def of_partitions(job: Job) -> set[str]:
    """The counters of partitions that a job takes away as a whole."""
    steps = (step.partitions for step in job.steps if isinstance(step, Delete) and step.partitions is not None)
    return {name for step in steps for name in (step.counter, PARTITION_BYTES)}


def application(engine: Engine) -> dict[str, str]:
    """The digests of all tables but the ledger's."""
    return {table: digest for table, digest in digests(engine).items() if table not in LEDGER}


def alike(interrupted: Engine, one: Engine, other: Engine) -> bool:
    """Whether the tables of an interrupted run are those of two undisturbed ones.

    Where the two differ between themselves, by a time or a random key, only the number of rows can be compared.
    """
    found, wanted, noise = (without_numbers(engine) for engine in (interrupted, one, other))
    rows, as_many = (_of_each_table(engine, "count(*)") for engine in (interrupted, one))
    differ = [
        table for table in wanted if rows[table] != as_many[table] or (wanted[table] == noise[table] != found[table])
    ]
    assert not differ, f"interrupted, it leaves other rows in {', '.join(differ)}"
    return True


def _of_each_table(engine: Engine, told: str) -> dict[str, Any]:
    with engine.connect() as connection:
        tables = connection.scalars(
            text(
                "select format('%I.%I', nspname, relname) from pg_class join pg_namespace n on n.oid = relnamespace"
                " where nspname !~ '^pg_' and nspname <> 'information_schema'"
                " and relkind in ('r', 'p') and not relispartition"
            )
        )
        literals = {table: table.replace("'", "''") for table in tables}
        each = " union all ".join(
            f"select '{literal}', {told.format(table=literal)} from {table} as row"  # noqa: S608
            for table, literal in literals.items()
        )
        return dict(connection.exec_driver_sql(each).all())


def counted(job: Job, plans: list[dict[str, Any]]) -> dict[tuple[str, ...], int]:
    """The planned rows by the counters they will be counted in; several steps may share one."""
    rows: dict[tuple[str, ...], int] = {}
    for step in job.steps:
        counters = (step.counter,) if isinstance(step, RowStep) else step.changes
        rows[counters] = rows.get(counters, 0) + sum(plan["rows"] for plan in plans if plan["step"] == step.name)
    return rows


def changed(job: Job, counters: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    """What a run has counted, as `counted` has its plan."""
    return {names: sum(counters[name] for name in names) for names in counted(job, [])}


def without_batches(counters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in counters.items() if name != "batches"}


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The nodes of a planner's plan."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def missing_index(subject: Subject, scan: Mapping[str, Any]) -> str:
    """The index to make: on what tells the age, or else on the columns of the condition, as the planner shows it."""
    name = getattr(subject.age, "name", None)
    words = re.findall(r"\w+", str(scan.get("Filter", "")))
    columns = [name] if name else [column for column in subject.facts.columns if column in words]
    if not columns:
        return "its condition names no column that an index could serve"
    return f"create index concurrently on {subject.facts.quoted} ({', '.join(columns)})"
