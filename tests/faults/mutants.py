"""Single breaks of the code, each of which a test beside it must notice: `python -m tests.faults.mutants [words…]`.

A break stands where a fault would lose data, delete too much, run twice or stay silent. They are applied one at a time
to a copy of the project, and only the tests named with them are run. With words: only the breaks whose description or
file has one of them. The breaks are chosen by hand: what drops a clause of a query or a lock is none of the changes
that mutation tools know, and each try of theirs would cost a database.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from compileall import compile_dir
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from tests.faults.nursery import Nursery

PROJECT = Path(__file__).parents[2]
LIBRARY = "layers/nightshift/python/nightshift"
SECONDS = 180
"""A break with which the tests take longer makes something endless: that is noticed too."""
SECONDS_IN_ALL = 3600
"""For all of these tests without any break."""

CLAIMS = ("tests/integration/test_claims.py",)
LEDGER = (*CLAIMS, "tests/integration/test_ledger.py")
CONTROL = (*CLAIMS, "tests/integration/test_control.py", "tests/integration/test_engine.py")
SUPERVISOR = ("tests/integration/test_supervisor.py",)
UPKEEP = (*SUPERVISOR, "tests/integration/test_ledger.py")
OCCURRENCES = ("tests/integration/test_occurrences.py",)
MEASURES = ("tests/integration/test_measures.py",)
RUNTIME = (*MEASURES, "tests/integration/test_supervisor.py", "tests/integration/test_ledger.py")
OUTAGES = (*CLAIMS, "tests/integration/test_outages.py")
EXECUTION = ("tests/integration/test_execution.py",)
BATCHES = ("tests/unit/test_batches.py",)
STRAIN = ("tests/integration/test_dials.py", "tests/integration/test_strain.py")
DISPATCH = ("tests/integration/test_dispatch.py",)
ODD = ("tests/integration/tables/test_odd_rows.py",)
ENGINE = (*BATCHES, "tests/integration/test_engine.py", "tests/integration/tables/test_any_table.py")


@dataclass(frozen=True)
class Break:
    what: str
    file: str
    old: str
    new: str
    beside: tuple[str, ...]


def breaks(file: str, beside: tuple[str, ...], *changes: tuple[str, str, str]) -> Iterator[Break]:
    """Of one file: what it means, the text, and what stands in its place."""
    for what, old, new in changes:
        yield Break(what, f"{LIBRARY}/{file}", old, new, beside)


BREAKS = (
    *breaks(
        "ledger/claims.py",
        CLAIMS,
        (
            "a run is not locked when it is found",
            "where(RunRecord.job == job, same).with_for_update()",
            "where(RunRecord.job == job, same)",
        ),
        (
            "a run is not locked while its end is written",
            'RunRecord.state == "running")\n        .with_for_update()\n',
            'RunRecord.state == "running")\n',
        ),
        ("one attempt too many", "record.attempts >= record.max_attempts", "record.attempts > record.max_attempts"),
        (
            "waiting runs start out of order",
            "        in_turn(RunRecord) < tuple_(literal",
            "        False and tuple_(literal",
        ),
        (
            "the latest starts first",
            "in_turn(RunRecord) < tuple_(literal",
            "in_turn(RunRecord) > tuple_(literal",
        ),
        (
            "of two of one time now one and now the other is the first",
            'in_turn(RunRecord) < tuple_(literal(record.trigger == "backfill"), record.scheduled_for, record.id)',
            "RunRecord.scheduled_for < record.scheduled_for",
        ),
        (
            "a run starts beside one that works",
            '        and_(RunRecord.state == "running", RunRecord.lease_until > clock),\n        in_turn',
            "        in_turn",
        ),
        (
            "an open plan counts as an open run",
            'RunRecord.job == record.job,\n        RunRecord.mode == "apply",\n',
            "RunRecord.job == record.job,\n",
        ),
        ("another job's open run counts", "        RunRecord.job == record.job,\n", ""),
        ("an ended run counts as open", "        RunRecord.state.in_(OPEN_STATES),\n", ""),
        ("a run waits for itself", "        RunRecord.id != record.id,\n", ""),
        ("a plan waits for its turn", 'if record.mode == "plan":\n        return True\n', "if False:\n        pass\n"),
        ("an ended run starts again", "record.state not in OPEN_STATES", "record.state in ()"),
        ("a lease keeps nobody away", "record.lease_until > clock:", "record.lease_until < clock:"),
        (
            "a skipped occurrence cannot be run by hand",
            '("missed", "paused", "skipped")',
            '("missed", "paused")',
        ),
        ("a missed occurrence cannot be run by hand", '("missed", "paused", "skipped")', '("paused", "skipped")'),
        ("a paused occurrence cannot be run by hand", '("missed", "paused", "skipped")', '("missed", "skipped")'),
        ("an event opens what was left out", "and request.trigger not in UNASKED and", "and"),
        (
            "the supervisor opens what was left out",
            " and request.run_id is None:\n            reopen",
            ":\n            reopen",
        ),
        (
            "what is opened again keeps its old parameters",
            "    record.parameters = dict(request.parameters)\n    record.override",
            "    record.override",
        ),
        ("what is opened again keeps its lifted cap", "    record.override = None\n", ""),
        (
            "what is opened again keeps the event's trigger",
            "record.trigger, record.request_id = request.trigger, request.request_id",
            "record.request_id = request.request_id",
        ),
        (
            "a forced repetition is found as the occurrence",
            'RunRecord.mode == "apply", RunRecord.forced.is_(False)',
            'RunRecord.mode == "apply"',
        ),
        (
            "a plan is found as the occurrence",
            'RunRecord.scheduled_for == request.scheduled_for, RunRecord.mode == "apply", ',
            "RunRecord.scheduled_for == request.scheduled_for, ",
        ),
        ("a forced repetition is no new run", "is not None and not request.forced and", "is not None and"),
        ("a plan takes the occurrence", 'not request.forced and request.mode == "apply":', "not request.forced:"),
        (
            "a request delivered again is another run",
            "        same = RunRecord.request_id == request.request_id\n",
            "        return None\n",
        ),
        ("what a person asks for is too late", "record.trigger in UNASKED and policy", "policy"),
        ("what a person asks for is paused", "record.trigger in UNASKED and (pause", "(pause"),
        ("nothing is too late", "late > policy.late_limit", "late < policy.late_limit"),
        ("a backfill is skipped", ' and record.trigger != "backfill"\n', "\n"),
        ("what waits is skipped", 'and policy.overlap == "skip" and', "and"),
        ("no event may come early", "> clock + CLOCK_TOLERANCE", "> clock"),
        ("a time to come is accepted", "> clock + CLOCK_TOLERANCE", "> clock + 1_000 * CLOCK_TOLERANCE"),
        ("what is settled at once has no end", "        record.finished_at = clock\n", ""),
        ("an attempt is not counted", "    record.attempts += 1\n", ""),
        (
            "an attempt that died is not closed",
            '        end_attempt(session, record, clock, "lost")\n',
            "        pass\n",
        ),
        ("a run keeps the reason of its last attempt", "record.reason = record.strain = None", "record.strain = None"),
        (
            "a zombie's batch is committed",
            'RunRecord.epoch == claim.epoch, RunRecord.state == "running"\n    )',
            'RunRecord.state == "running"\n    )',
        ),
        (
            "a batch of an ended run is committed",
            'RunRecord.epoch == claim.epoch, RunRecord.state == "running"\n    )',
            "RunRecord.epoch == claim.epoch\n    )",
        ),
        (
            "a batch changes other runs",
            'RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch, RunRecord.state == "running"\n    )',
            'RunRecord.epoch == claim.epoch, RunRecord.state == "running"\n    )',
        ),
        (
            "a zombie ends its run",
            'RunRecord.epoch == claim.epoch, RunRecord.state == "running")\n        .with',
            'RunRecord.state == "running")\n        .with',
        ),
        (
            "an ended run is ended again",
            'RunRecord.epoch == claim.epoch, RunRecord.state == "running")\n        .with',
            "RunRecord.epoch == claim.epoch)\n        .with",
        ),
    ),
    *breaks(
        "ledger/claims.py",
        LEDGER,
        ("a lease ends with the invocation", "seconds=seconds + LEASE_MARGIN_SECONDS", "seconds=seconds"),
    ),
    *breaks(
        "ledger/runs.py",
        LEDGER,
        (
            "claims of one job are not one after the other",
            "where(RegisteredJob.name == job).with_for_update()",
            "where(RegisteredJob.name == job)",
        ),
        ("an attempt's end is written twice", ", Attempt.ended_at.is_(None))", ")"),
    ),
    *breaks(
        "ledger/again.py",
        CLAIMS,
        (
            "a run is not locked when it is claimed again",
            "found.with_for_update().execution_options",
            "found.execution_options",
        ),
        ("a lost connection is always counted", "    record.attempts -= progressed\n", ""),
        ("a lost connection is never counted", "record.attempts -= progressed", "record.attempts -= 1"),
        ("a lost connection after a batch is the last", "if not progressed and record.attempts", "if record.attempts"),
        (
            "one lost connection too many",
            "record.attempts >= record.max_attempts",
            "record.attempts > record.max_attempts",
        ),
        (
            "a zombie claims its run again",
            "RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch",
            "RunRecord.id == claim.run.id",
        ),
        ("an ended run is claimed again", 'if record.state != "running":', "if False:"),
        ("an attempt claimed again has no request", "Request(request_id=session.scalar(request_id))", "Request()"),
        ("a critical run that lost its connections tells nobody", "critical=critical,", "critical=False,"),
    ),
    *breaks(
        "ledger/again.py",
        OUTAGES,
        (
            "a run that lost its turn goes on",
            'if record.mode == "apply" and session.scalar',
            "if False and session.scalar",
        ),
    ),
    *breaks(
        "ledger/endings.py",
        CLAIMS,
        ("an interruption counts as an attempt", "        record.attempts -= progressed\n", ""),
        ("an interruption never counts", "record.attempts -= progressed", "record.attempts -= 1"),
        ("an interruption after a batch is final", "if not progressed and record.attempts", "if record.attempts"),
        (
            "one interruption too many",
            "not progressed and record.attempts >= record.max_attempts",
            "not progressed and record.attempts > record.max_attempts",
        ),
        ("what no retry would help is tried again", "if permanent or record.attempts", "if record.attempts"),
        (
            "one failure too many",
            "permanent or record.attempts >= record.max_attempts",
            "permanent or record.attempts > record.max_attempts",
        ),
        ("the other jobs' failures are told", "failures() if critical else", "failures() if not critical else"),
        ("a failure counts as reported", "clock if reported else None", "clock"),
    ),
    *breaks(
        "ledger/endings.py",
        CONTROL,
        ("a redriven run has no attempts", '"queued", reason, None, 0', '"queued", reason, None, record.attempts'),
        ("a redriven failure is not reported", "    record.reported_at = None\n    return", "    return"),
        ("a cancelled run cannot go on", '("failed", "cancelled")', '("failed",)'),
        ("what succeeded is redriven", 'if record.state not in ("failed", "cancelled"):', "if False:"),
        ("a redriven run keeps a count that is no longer true", "        record.candidates = None\n", "        pass\n"),
        ("a cap is lifted in the middle", "not record.candidates or record.step is not None", "not record.candidates"),
        ("an ended run is cancelled", "if record.state not in OPEN_STATES:", "if False:"),
    ),
    *breaks(
        "ledger/batches.py",
        CLAIMS,
        ("a batch leaves no cursor", "position=dict(position) if position is not None else None", "position=None"),
        ("a batch leaves no counters", "        counters=dict(counters),\n", ""),
        ("a batch leaves no errors", "        errors=list(errors)[:ERRORS_KEPT],\n", ""),
    ),
    *breaks(
        "ledger/upkeep.py",
        SUPERVISOR,
        ("the supervisor overtakes Lambda's second retry", "func.max(Attempt.ended_at)", "func.min(Attempt.ended_at)"),
        (
            "the supervisor overtakes Lambda's retries",
            "RETRY_PATIENCE = dt.timedelta(minutes=1)",
            "RETRY_PATIENCE = dt.timedelta(seconds=10)",
        ),
        (
            "what a person asked for is given up early",
            "ASKED_PATIENCE = dt.timedelta(minutes=4)",
            "ASKED_PATIENCE = dt.timedelta(minutes=2)",
        ),
        ("a plan waits behind a run", 'or_(RunRecord.mode == "plan", ~ahead)', "~ahead"),
        (
            "an interrupted plan behind a stalled run is not continued",
            "distinct_on(RunRecord.job, RunRecord.mode)",
            "distinct_on(RunRecord.job)",
        ),
        ("a run waits behind a plan", '        other.mode == "apply",\n', ""),
        ("a run waits behind an ended one", "        other.state.in_(OPEN_STATES),\n", ""),
        (
            "a run that could not start is begun",
            '            and_(other.state == "running", other.lease_until > func.clock_timestamp()),\n',
            "",
        ),
        (
            "a later run is begun first",
            "in_turn(other) < in_turn",
            "in_turn(other) > in_turn",
        ),
        (
            "a dead run is not continued",
            '"running", RunRecord.lease_until < func.clock_timestamp()),\n        and_(RunRecord.trigger.not_in',
            '"running", RunRecord.lease_until > func.clock_timestamp()),\n        and_(RunRecord.trigger.not_in',
        ),
        (
            "a run on its last attempt is given up early",
            "and_(died, RunRecord.attempts >= RunRecord.max_attempts)",
            "RunRecord.attempts >= RunRecord.max_attempts",
        ),
        (
            "a dead run is given up with attempts left",
            "and_(died, RunRecord.attempts >= RunRecord.max_attempts)",
            "died",
        ),
        (
            "what Lambda retries is given up",
            "and_(RunRecord.trigger.in_(ASKED), _waits_for_a_retry(ASKED_PATIENCE))",
            "_waits_for_a_retry(ASKED_PATIENCE)",
        ),
        ("a reported failure is reported again", '"failed", RunRecord.reported_at.is_(None)', '"failed"'),
        ("the youngest open run is measured", "func.min(RunRecord.scheduled_for)", "func.max(RunRecord.scheduled_for)"),
        (
            "ended runs are measured as open",
            'RunRecord.state.in_(OPEN_STATES), RunRecord.trigger != "backfill"',
            'RunRecord.trigger != "backfill"',
        ),
        ("a working attempt of a disabled job is cancelled", 'or_(RunRecord.state != "running", dead))', "True)"),
        ("the runs of working jobs are cancelled", "RunRecord.job.not_in(working)", "RunRecord.job.in_(working)"),
        (
            "nobody stays for what waits",
            'RunRecord.state == "queued", RunRecord.job',
            'RunRecord.state == "missed", RunRecord.job',
        ),
    ),
    *breaks(
        "ledger/upkeep.py",
        UPKEEP,
        ("a dead run on its last attempt is begun", "RunRecord.attempts < RunRecord.max_attempts, needs", "needs"),
        ("the ledger is emptied by a wrong clock", "number * 2 > (of :=", "number > 2 * (of :="),
        ("the ledger forgets a month early", "dt.timedelta(days=400)", "dt.timedelta(days=370)"),
        ("the ledger forgets nothing", "dt.timedelta(days=400)", "dt.timedelta(days=430)"),
    ),
    *breaks(
        "operations/supervisor.py",
        SUPERVISOR,
        ("a critical job that dies raises no alert", "dead.run_id, critical=critical)", "dead.run_id, critical=False)"),
        (
            "every job that dies raises an alert",
            "critical = {job.name for job in declared if job.critical}",
            "critical = {job.name for job in declared}",
        ),
        ("runs of jobs that are not deployed are invoked", "if stalled.job in working and stalled", "if stalled"),
        ("runs are invoked twice a round", " and stalled.run_id not in begun:", ":"),
        ("runs of disabled jobs are invoked", "in jobs.items() if deployed.enabled]", "in jobs.items()]"),
        ("a failure is reported each minute", "            ledger.note_reported(session, run.id)\n", ""),
        (
            "a failure is reported to nobody",
            "            report(failure_record(unheard.standing, died=unheard.died))\n",
            "",
        ),
        ("missed occurrences are not measured", "        OccurrencesMissed=missed,\n", ""),
        ("final failures are not measured", "        RunsFailed=failed,\n", ""),
        ("the oldest open run is not measured", "        OldestOpenRunSeconds=oldest,\n", ""),
        ("what hinders is not measured", "        SupervisorHindered=apart.hindered,\n", ""),
        ("what hinders is not counted", "            self.hindered += 1\n", ""),
        ("the ledger keeps everything", "        ledger.forget(session)\n", "        pass\n"),
    ),
    *breaks(
        "ledger/occurrences.py",
        OCCURRENCES,
        (
            "what a paused job has left out is called missed",
            "if pause_in_force(session, registered, clock) is not None or policy",
            "if policy",
        ),
        ("a forced repetition hides a missed occurrence", "        RunRecord.forced.is_(False),\n", ""),
        ("a plan hides a missed occurrence", '        RunRecord.mode == "apply",\n', ""),
        ("the latest is not caught up", "if time < due[-1]]", "if time <= due[-1]]"),
        ("every one is caught up", "if time < due[-1]]", "if False]"),
        ("a check is caught up", "given_up, reason = missing, ", "given_up, reason = [], "),
        ("no event is waited for", "PATIENCE = dt.timedelta(minutes=2)", "PATIENCE = dt.timedelta(minutes=0)"),
        (
            "an event is waited for too long",
            "PATIENCE = dt.timedelta(minutes=2)",
            "PATIENCE = dt.timedelta(minutes=20)",
        ),
        ("a month is not looked back", "REACH = dt.timedelta(days=31)", "REACH = dt.timedelta(days=30)"),
        (
            "another schedule has missed occurrences",
            "deployed.enabled and registered.schedule == _schedule(deployed)",
            "deployed.enabled",
        ),
        ("occurrences are looked for again", "max(registered.accounted_until, horizon)", "registered.accounted_until"),
        ("what is caught up has the declared parameters", ", parameters=deployed.parameters)", ")"),
        ("nothing is missed in the count", 'Counter({"missed": len(given_up)})', "Counter()"),
    ),
    *breaks(
        "runtime/handler.py",
        MEASURES,
        ("a disabled job runs", 'os.environ.get(ENABLED_VARIABLE) == "false"', "False"),
        ("a run's final failure is not measured", "        telemetry.measure(RunsFailed=1)\n", "        pass\n"),
        (
            "a late occurrence is not measured",
            "                telemetry.measure(OccurrencesMissed=1)\n",
            "                pass\n",
        ),
        ("an attempt's failure is not measured", "        telemetry.measure(AttemptsFailed=1)\n", "        pass\n"),
        ("an interruption is not measured", "        telemetry.measure(RunsInterrupted=1)\n", "        pass\n"),
        ("a zombie counts its successor's run", "    if not ended.superseded:", "    if True:"),
        ("quarantined rows are not measured", 'counters.get("quarantined", 0)', 'counters.get("odd", 0)'),
        ("metrics are not written", "            telemetry.flush()\n", "            pass\n"),
        (
            "a final failure does not reach the queue",
            'if request.heard and granted.state == "failed" and granted.last',
            "if False and granted.last",
        ),
        (
            "a doubled delivery of a failure reaches the queue",
            " and granted.last_request_id == context.aws_request_id:",
            ":",
        ),
    ),
    *breaks(
        "runtime/handler.py",
        RUNTIME,
        ("a failure is reported twice", '(standing.state == "failed" and heard)', 'standing.state == "failed"'),
        ("a retry that is left does not come", 'if standing.state == "retrying" or (', "if ("),
        ("what somebody waits for is tried again", "    if request.once:  #", "    if False:  #"),
    ),
    *breaks(
        "engine/execution.py",
        EXECUTION,
        ("another step's cursor is taken", "if self.claim.step == step.name and self", "if self"),
        ("another query's cursor is taken", "if self.claim.fingerprint == self._fingerprint:", "if True:"),
        (
            "statements may run to the deadline and beyond",
            "self.deadline.remaining - self.deadline.reserve)",
            "self.deadline.remaining + self.deadline.reserve)",
        ),
        (
            "statements may run into the reserve",
            "self.deadline.remaining - self.deadline.reserve)",
            "self.deadline.remaining)",
        ),
        (
            "statements may run out of the lease",
            "            limit = min(limit, LONGEST_BRISK_SECONDS)\n",
            "            pass\n",
        ),
        (
            "no batch waits for the disk",
            '({"synchronous_commit": "off"} if may_be_lost else {})',
            '{"synchronous_commit": "off"}',
        ),
        ("every batch waits for the disk", '({"synchronous_commit": "off"} if may_be_lost else {})', "{}"),
        ("a lock is waited for as ever", "    if lock_seconds is not None:\n", "    if False:\n"),
        (
            "a step begins on a short lease",
            "        self._hold_to_the_deadline()\n        self._step,",
            "        self._step,",
        ),
        ("other batches have a short lease", "        if not brisk:\n            self._hold_to_the_deadline()\n", ""),
        (
            "a lease outlives its invocation",
            "min(ledger.LEASE_SECONDS, self.deadline.remaining + ledger.LEASE_MARGIN_SECONDS)",
            "ledger.LEASE_SECONDS",
        ),
        ("nothing stops near the deadline", "if not self._first_batch and self.deadline.near:", "if False:"),
        ("an attempt makes no progress", "if not self._first_batch and self.deadline.near:", "if self.deadline.near:"),
        ("progress is not noted", "        self.progressed = True\n", ""),
        ("a slow batch counts as brisk", "may_be_lost and seconds < BRISK_SECONDS", "may_be_lost"),
        ("twenty bad items are too many", "if quarantined > max(", "if quarantined >= max("),
        ("no bad items are too many", "if quarantined > max(", "if quarantined > 1_000 + max("),
        ("every batch is a snapshot", '"repeatable read" if snapshot else "read committed"', '"repeatable read"'),
        ("no batch is a snapshot", '"repeatable read" if snapshot else "read committed"', '"read committed"'),
        (
            "a zombie goes on outside the database",
            "        self.pacing.wait()\n"
            "        ledger.renew(self.session, self.claim, seconds=self.deadline.remaining)\n",
            "        self.pacing.wait()\n",
        ),
    ),
    *breaks(
        "database/failures.py",
        BATCHES,
        ("a broken constraint is no row's fault", '"22", "23", ', '"22", '),
        ("a bad value is no row's fault", '"21", "22", ', '"21", '),
        ("a deadlock does not pass", '{"40001", "40P01", ', '{"40001", '),
        ("a serialization failure does not pass", '{"40001", "40P01", ', '{"40P01", '),
        ("a time-out does not pass", '"55P03", "57014"}', '"55P03"}'),
        ("a lock does not pass", '"40P01", "55P03", ', '"40P01", '),
        (
            "a trigger's lock is waited for",
            'sqlstate(error) == "55P03" and not is_raised(_fields(error))',
            'sqlstate(error) == "55P03"',
        ),
        ("a trigger's refusal passes", '"57014"} and not is_raised(_fields(error))', '"57014"}'),
        ("a missing right is a row's fault", '(code, fields.get("R")) == _BY_POLICY', "code == _BY_POLICY[0]"),
    ),
    *breaks(
        "engine/candidates.py",
        BATCHES,
        ("the cap stops at exactly the share", "rows * 100 > share * of", "rows * 100 >= share * of"),
        (
            "the cap stops at exactly the rows",
            "if most is not None and rows > most:",
            "if most is not None and rows >= most:",
        ),
        ("the share allows one row more", "rows * 100 > share * of", "(rows - 1) * 100 > share * of"),
        ("the cap counts no cascades", "sum(plan.all_rows for plan in plans)", "sum(plan.rows for plan in plans)"),
        (
            "the share counts no cascades",
            "        parts += [(each.action, each.rows, each.of, each.table) for each in plan.cascades]\n",
            "",
        ),
        (
            "each step has the cap for itself",
            "sum(plan.all_rows for plan in plans)",
            "max((plan.all_rows for plan in plans), default=0)",
        ),
    ),
    *breaks(
        "engine/ways.py",
        BATCHES,
        ("the end of a walk is not frozen", 'cursor.get("end", self._portion.blocks)', "self._portion.blocks"),
        ("a walk begins anew each time", 'cursor.get("block", 0)', "0"),
        ("a walk passes its end", "upto = min(end, block + size)", "upto = block + size"),
        ("a walk leaves out its last block", '({upto},0)", TID)]', '({upto - 1},0)", TID)]'),
        ("a list of keys is passed", "upto = min(last, after + size)", "upto = after + size"),
        ("a key is left out", "KEYS.c.place > after", "KEYS.c.place > after + 1"),
    ),
    *breaks(
        "engine/sweeping.py",
        BATCHES,
        (
            "what passes is tried for ever",
            "elif is_passing(error) and self.passing < PASSING_ERRORS_IN_A_ROW:",
            "elif is_passing(error):",
        ),
        (
            "what passes is tried once more",
            "self.passing < PASSING_ERRORS_IN_A_ROW",
            "self.passing <= PASSING_ERRORS_IN_A_ROW",
        ),
        (
            "what has passed is counted on",
            "self.proven, self.passing = False, False, True, 0",
            "self.proven = False, False, True",
        ),
        ("a bad row is tried for ever", "elif is_row_error(error) and not self.alone:", "elif is_row_error(error):"),
        ("a batch with a bad row stays as large", "            self.size = max(smallest, self.size // 2)\n", ""),
        (
            "a locked row is never alone",
            "if is_locked(error) and self.size <= smallest and not self.alone:",
            "if False:",
        ),
        (
            "every batch after a bad row goes row by row",
            "self.alone, self.limited, self.proven, self.passing = False, False",
            "self.limited, self.proven, self.passing = False",
        ),
        (
            "batches grow without a limit",
            "int(min(largest, max(smallest, size * pace)))",
            "int(max(smallest, size * pace))",
        ),
        ("batches jump", "min(4.0, max(0.25,", "min(40.0, max(0.025,"),
    ),
    *breaks(
        "engine/sweeping.py",
        ENGINE,
        (
            "more rows go than were counted",
            "if left is not None and batch.counts[self.task.counter] + rows > left:",
            "if False:",
        ),
        (
            "a rewritten table is walked from the old place",
            'if saved["filenodes"] != _filenodes(portion):',
            "if False:",
        ),
        ("a step goes on in another portion", 'if saved.get("portion") != portion.name:', "if False:"),
        (
            "a walk does not end with the last row counted",
            "whole = after is None or full",
            "whole = after is None",
        ),
    ),
    *breaks(
        "outbox/parcels.py",
        DISPATCH,
        (
            "a throttled mail stays claimed",
            'values |= {"status": "pending", "claimed_at": None, ',
            'values |= {"status": "pending", ',
        ),
        (
            "a mail that is tried later stays claimed",
            '"pending", "claimed_at": None, "scheduled_for"',
            '"pending", "scheduled_for"',
        ),
        (
            "what was sent is released again",
            'row.status == "pending", row.channel == "in_app"',
            'row.channel == "in_app"',
        ),
        (
            "another channel's rows are due",
            'row.status == "pending", row.channel == channel',
            'row.status == "pending"',
        ),
        ("a look-up is tried for ever", "    if parcel.attempts >= MOST_TRIES:\n", "    if False:\n"),
        ("a missing right is the recipient's fault", "and not is_passing(cause)", "and False"),
        ("a slow look-up stops the others", "and not is_passing(cause)", "and True"),
        (
            "a sent mail may fail later",
            'Notification.status.in_(("sending", "unknown"))',
            "Notification.id.is_not(None)",
        ),
        (
            "a living sender is given up",
            "row.claimed_at < func.clock_timestamp() - LEASE",
            "row.claimed_at < func.clock_timestamp()",
        ),
        ("quiet hours wake somebody", "at - created_at > PROMPT", "False"),
    ),
    *breaks(
        "outbox/dispatcher.py",
        DISPATCH,
        ("an unforeseen error sends again", '"unknown", f"no clear answer: {describe(cause)}"', '"pending", "again"'),
    ),
    *breaks(
        "declaration/deployment.py",
        SUPERVISOR,
        ("bad settings of one stop all", "except Exception as cause:", "except LookupError as cause:"),
    ),
    *breaks(
        "operations/supervisor.py",
        SUPERVISOR,
        ("runs of a job with bad settings are cancelled", "[*working, *misunderstood]", "working"),
        ("bad settings are not measured", "        apart.hindered += 1\n", ""),
    ),
    *breaks(
        "runtime/reach.py",
        OUTAGES,
        ("the first connection is tried once", "not is_away(cause) or self.deadline.remaining - pause < until", "True"),
        ("it is tried into the reserve", "max(reserve, self.deadline.remaining - patience)", "-1e9"),
    ),
    *breaks(
        "engine/odd_rows.py",
        ODD,
        ("any number of odd rows is left", "if len(odd) > MOST_ODD:", "if False:"),
        ("odd rows stay in", "case((rows, false()), else_=", "case((rows, literal(True)), else_="),
    ),
    *breaks(
        "engine/sweeping.py",
        ODD,
        ("odd rows are not told", "        if not new:\n", "        if True:\n"),
        ("a row that turns odd ends the run", "elif self._leave_odd_out(error):", "elif False:"),
    ),
    *breaks(
        "engine/tally.py",
        ("tests/faults/test_settings.py",),
        ("a server that does not count is believed", "if BLIND in found:", "if False:"),
        (
            "foreign keys that are not followed are believed",
            "('session_replication_role', 'origin, local')",
            "('track_counts', 'on, off')",
        ),
    ),
    *breaks(
        "database/transaction.py",
        ("tests/faults/test_settings.py",),
        ("a transaction's own time-out stays", 'begun.append("set local transaction_timeout to 0")', "pass"),
        ("null is what it is not", '    "transform_null_equals": "off",\n', ""),
    ),
    *breaks(
        "database/connection.py",
        ("tests/faults/test_network.py",),
        ("a session connects again by itself", "        if not bounds:\n", "        if False:\n"),
    ),
    *breaks(
        "steps/backups/snapshots.py",
        ("tests/integration/example/jobs/test_refused_alerts.py",),
        ("a refused alert stops the export", "        by_halves(  # the", "        print(  # the"),
    ),
    Break(
        "a drill forgets the erasures",
        "cli/backup.py",
        "else database if drill else None",
        "else None",
        ("tests/integration/tables/test_own_backup.py", "tests/integration/example/jobs/test_backup.py"),
    ),
    *breaks(
        "engine/pacing.py",
        STRAIN,
        ("a dial acts one batch late", "return self.dials == before or (", "return True or ("),
        ("nobody gives way", "if job.kind in GIVES_WAY and", "if False and"),
        (
            "a pause is not kept",
            "pause = max(self._took * self._rests, self.dials.pause_seconds or 0.0)",
            "pause = 0.0",
        ),
    ),
    *breaks(
        "ledger/endings.py",
        STRAIN,
        ("a held attempt is counted", "        record.attempts -= 1\n", ""),
    ),
    *breaks(
        "engine/strain.py",
        STRAIN,
        ("a limit is not looked at", "elif value >= limit:", "elif False:"),
        ("what fails to be read is not told", "unknown |= dict.fromkeys(_OF.get(name, (name,)), reason)", "pass"),
    ),
)


def copy(folder: Path) -> None:
    """The project as it stands here, without what git ignores."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=PROJECT, text=True).split("\0"):
        if name and Path(PROJECT, name).is_file():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(PROJECT, name), Path(folder, name))


@contextmanager
def broken(folder: Path, fault: Break) -> Iterator[None]:
    """Inside the block the copy has the break. Its file is written back whatever happens."""
    file = Path(folder, fault.file)
    whole = file.read_text()
    # Byte code is told by size and second, and a break may change neither.
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
        compiled.unlink()
    file.write_text(whole.replace(fault.old, fault.new))
    try:
        yield
    finally:
        file.write_text(whole)


def tried(
    chosen: Iterable[Break], nurseries: "Queue[tuple[Path, Nursery]]", workers: int
) -> Iterator[tuple[Break, bool | None, str]]:
    """Each break, whether it was noticed, and by which test."""

    def attempt(fault: Break) -> tuple[Break, bool | None, str]:
        folder, nursery = nurseries.get()
        try:
            with broken(folder, fault):
                found, said = nursery.red(fault.beside, SECONDS)
                by = re.search(r"^(?:FAILED|ERROR) \S*::(\S+)", said, re.MULTILINE)
                return fault, found, by[1] if by else ""
        finally:
            nurseries.put((folder, nursery))

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(attempt, chosen)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only breaks whose description or file has one of these")
    parser.add_argument("--workers", type=int, default=1, help="how many are tried at once, each in its own copy")
    options = parser.parse_args()
    words = options.words
    there = [each for each in BREAKS if all(Path(PROJECT, name).exists() for name in (each.file, *each.beside))]
    chosen = [each for each in there if not words or any(word in f"{each.what} {each.file}" for word in words)]
    if stale := [each for each in chosen if Path(PROJECT, each.file).read_text().count(each.old) != 1]:
        for each in stale:
            print(f"not found once in {each.file}: {each.what}: {each.old!r}")
        return 2
    with tempfile.TemporaryDirectory(prefix="nightshift-mutants-") as folder, ExitStack() as begun:
        nurseries: Queue[tuple[Path, Nursery]] = Queue()
        for number in range(options.workers):
            place = Path(folder, str(number))
            copy(place)
            compile_dir(place, quiet=2)
            nurseries.put((place, nursery := Nursery(place)))
            begun.callback(nursery.close)
        failing, said = nursery.red(sorted({test for each in chosen for test in each.beside}), SECONDS_IN_ALL)
        if failing is not False:
            print(f"without any break not all tests pass:\n{said}")
            return 2
        noticed = 0
        for fault, found, by in tried(chosen, nurseries, options.workers):
            noticed += bool(found)
            told = {True: "noticed", False: "NOT NOTICED", None: "COULD NOT RUN"}[found]
            print(f"{told:13} {Path(fault.file).name}: {fault.what}{f': {by}' if by else ''}", flush=True)
    print(f"{noticed} of {len(chosen)} noticed: {noticed / max(1, len(chosen)):.0%}")
    return int(noticed < len(chosen))


if __name__ == "__main__":
    raise SystemExit(main())
