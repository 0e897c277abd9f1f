"""Single breaks of the code, chosen by hand, each with the tests beside it. See tests/faults/mutants.py."""

from collections.abc import Iterator
from dataclasses import dataclass

LIBRARY = "layers/nightshift/python/nightshift"

CLAIMS = ("tests/integration/test_claims.py",)
LEDGER = (*CLAIMS, "tests/integration/test_ledger.py")
CONTROL = (*CLAIMS, "tests/integration/test_control.py", "tests/integration/test_engine.py")
SUPERVISOR = ("tests/integration/test_supervisor.py",)
UPKEEP = (*SUPERVISOR, "tests/integration/test_ledger.py")
OWN_BACKUP = ("tests/integration/tables/test_own_backup.py",)
MEANWHILE = ("tests/integration/tables/test_deployed_meanwhile.py",)
NEW_VALUES = ("tests/integration/tables/test_new_values.py",)
OCCURRENCES = ("tests/integration/test_occurrences.py",)
MEASURES = ("tests/integration/test_measures.py",)
RUNTIME = (*MEASURES, "tests/integration/test_supervisor.py", "tests/integration/test_ledger.py")
OUTAGES = (*CLAIMS, "tests/integration/test_outages.py")
EXECUTION = ("tests/integration/test_execution.py",)
BATCHES = ("tests/unit/test_batches.py",)
STRAIN = ("tests/integration/test_dials.py", "tests/integration/test_strain.py")
DISPATCH = ("tests/integration/test_dispatch.py",)
APART = ("tests/integration/test_outbox_apart.py",)
KEPT = ("tests/integration/test_kept_runs.py",)
FREEZES = ("tests/unit/test_freezes.py",)
KINDS = ("tests/unit/test_kinds.py",)
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
    """Of one file, the library's where nothing else is named: what it means, the text, and what stands in its place."""
    place = file if file.split("/")[0] in ("cli", "functions", "infra", "layers") else f"{LIBRARY}/{file}"
    for what, old, new in changes:
        yield Break(what, place, old, new, beside)


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
            "select(RunRecord).where(*mine).with_for_update()",
            "select(RunRecord).where(*mine)",
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
        ("what is opened again is timed from before", "record.started_at = record.finished_at", "record.finished_at"),
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
            '    mine = (RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch, RunRecord.state == "running")',
            '    mine = (RunRecord.id == claim.run.id, RunRecord.state == "running")',
        ),
        (
            "an ended run is ended again",
            '    mine = (RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch, RunRecord.state == "running")',
            "    mine = (RunRecord.id == claim.run.id, RunRecord.epoch == claim.epoch)",
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
        (
            "the clock is asked before the job is locked",
            "select(aliased(of, locking.subquery()), func.clock_timestamp())",
            "locking.add_columns(func.clock_timestamp())",
        ),
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
        "ledger/claims.py",
        CONTROL,
        ("a redriven run has no attempts", '"queued", reason, 0', '"queued", reason, record.attempts'),
    ),
    *breaks(
        "ledger/endings.py",
        CONTROL,
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
            "{job.name for job in declared if job.critical}",
            "{job.name for job in declared}",
        ),
        ("runs of jobs that are not deployed are invoked", "if stalled.job in working and stalled", "if stalled"),
        ("runs are invoked twice a round", " and stalled.run_id not in begun and", " and"),
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
        ("the ledger keeps everything", "        ledger.forget(session)\n", "        pass\n"),
    ),
    *breaks(
        "database/apart.py",
        SUPERVISOR,
        ("what hinders is not counted", "            self.hindered += 1\n", ""),
        (
            "one job's trouble ends the round",
            "            if not still_answers(self._session):\n                raise",
            "            if True:\n                raise",
        ),
        (
            "a lost connection is one job's trouble",
            "            if not still_answers(self._session):\n                raise",
            "            if False:\n                raise",
        ),
    ),
    *breaks(
        "database/apart.py",
        (*SUPERVISOR, *APART),
        (
            "an error that is no row's stops the others",
            "            if is_row_error(error) or sqlstate(error) in ENDED:",
            "            if True:",
        ),
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
            "        self._hold_to_the_deadline()\n        if self._step",
            "        if self._step",
        ),
        ("other batches have a short lease", "        if not brisk:\n            self._hold_to_the_deadline()\n", ""),
        (
            "a lease outlives its invocation",
            "min(ledger.LEASE_SECONDS, self.deadline.remaining + ledger.LEASE_MARGIN_SECONDS)",
            "ledger.LEASE_SECONDS",
        ),
        ("nothing stops near the deadline", "if not self._first_batch and self.deadline.near and (", "if False and ("),
        (
            "an attempt makes no progress",
            "if not self._first_batch and self.deadline.near and (",
            "if self.deadline.near or (",
        ),
        ("a first batch is tried once", "(self.progressed or self._reserve_is_used)", "True"),
        ("a first batch is tried for ever", "(self.progressed or self._reserve_is_used)", "self.progressed"),
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
        "database/failures.py",
        (*ODD, "tests/integration/test_halving.py"),
        ("a value that is read like a name stops all others", '{"0A", "3F", "42"}', '{"0A"}'),
        ("no number stops all others", '{"0A", "3F", "42"}', '{"3F", "42"}'),
        ("a mistake in the SQL is a row's fault", ' and not {"P", "p"} & fields.keys()', ""),
        ("a row that its own trigger changes stops all others", '"23", "27", ', '"23", '),
    ),
    *breaks(
        "database/halving.py",
        ("tests/integration/test_halving.py",),
        (
            "what is refused at the commit refuses all",
            "        yield\n        _try_deferred(session)\n",
            "        yield\n",
        ),
        ("deferred triggers do not keep their time", "        trial.rollback()\n", ""),
        ("what was refused before is an item's fault", "_try_deferred(session)  # what came", "pass  # what came"),
        ("each half waits as long as the first", "    _wait_for_locks(session, ROW_LOCK)\n", "    pass\n"),
        ("the short wait stays", "    _wait_for_locks(session, waited)\n", "    pass\n"),
    ),
    *breaks(
        "engine/deletions.py",
        ("tests/integration/tables/test_held_deletions.py",),
        ("what was taken back counts", " - before - rolled_back.rows", " - before"),
        ("what was taken back counts twice", "deleted(session) - self.rows", "deleted(session)"),
        ("a savepoint's rows are all that count", "deleted(self._connection) - before", "deleted(self._connection)"),
        (
            "what is deleted at the commit is not seen",
            "                fire_deferred(batch.session)\n",
            "                pass\n",
        ),
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
            'row.status == "pending", row.channel == channel, row.scheduled_for',
            'row.status == "pending", row.scheduled_for',
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
            "claimed_at < now - LEASE",
            "claimed_at < now",
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
        (
            "the first connection is tried once",
            "not (is_away(cause) or rotated) or self.deadline.remaining - pause < until",
            "True",
        ),
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
            "pause = max(min(LONGEST_REST_SECONDS, self._took * self._rests), self.dials.pause_seconds or 0.0)",
            "pause = 0.0",
        ),
        ("a rest has no end", "min(LONGEST_REST_SECONDS, self._took * self._rests)", "self._took * self._rests"),
        ("a rest outlasts its strain", "looks = slowed and self._watch is not None", "looks = False"),
        ("others meet a batch as large as before them", "size = int(size * self._shrunk)", "size = int(size)"),
        ("one look is enough to be alone", "or self._looks > 1\n", "or self._looks > 0\n"),
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
    *breaks(
        "outbox/parcels.py",
        ("tests/integration/test_dispatch.py",),
        (
            "a sender believed dead cannot tell how it went",
            'Notification.status.in_(("sending", "unknown"))',
            'Notification.status.in_(("sending",))',
        ),
        (
            "unknown mails do not count towards the cap",
            'row.status.in_(("sending", "sent", "unknown"))',
            'row.status.in_(("sending", "sent"))',
        ),
        (
            "mails in the air do not count towards the cap",
            'row.status.in_(("sending", "sent", "unknown"))',
            'row.status.in_(("sent", "unknown"))',
        ),
        ("the cap allows one more", ">= daily_cap:", "> daily_cap:"),
        ("the cap counts a kind of duty", "row.kind.not_in(of_duty()), row.id", "row.id"),
        ("the cap holds for kinds of duty", "if not parcel.duty and _mails", "if _mails"),
        ("the cap counts other people's mails", "where(row.recipient == recipient, ordinary", "where(ordinary"),
        ("the cap counts all days", ", ordinary, sent, recent)", ", ordinary, sent)"),
        ("a mail counts itself", ", row.id != parcel.id)", ")"),
        ("who switched mails off gets one", 'if found.wants.get("email") is False:', "if False:"),
        (
            "a row that is not due is claimed",
            ", which, row.scheduled_for <= func.clock_timestamp(), row.id",
            ", which, row.id",
        ),
        ("a row is claimed twice", '.where(row.status == "pending", which,', ".where(which,"),
        (
            "two dispatchers wait for each other",
            ".limit(1)\n        .with_for_update(skip_locked=True)",
            ".limit(1)\n        .with_for_update()",
        ),
        ("a claim counts no try", "MOST_COUNTED - 1) + 1", "MOST_COUNTED - 1)"),
        ("each pause is the same", "FIRST_RETRY * 2 ** max(0, min(parcel.attempts, MOST_TRIES) - 1)", "FIRST_RETRY"),
        (
            "a throttled mail's try is counted",
            '"claimed_at": None, "attempts": Notification.attempts - 1}\n    with',
            '"claimed_at": None}\n    with',
        ),
        (
            "a put off mail's try is counted",
            '"claimed_at": None, "attempts": Notification.attempts - 1, "scheduled_for": until',
            '"claimed_at": None, "scheduled_for": until',
        ),
        (
            "a mail that was settled is put back",
            'Notification.id == parcel.id, Notification.status == "sending").values(values)\n        )\n    telemetry',
            "Notification.id == parcel.id).values(values)\n        )\n    telemetry",
        ),
        (
            "what is in the app is released early",
            ', row.channel == "in_app", row.scheduled_for <= func.clock_timestamp())',
            ', row.channel == "in_app")',
        ),
        (
            "who is not listed any more gets a mail's status failed",
            '    if found is None:\n        return _set(session, parcel, "suppressed"',
            '    if found is None:\n        return _set(session, parcel, "failed"',
        ),
    ),
    *breaks(
        "outbox/parcels.py",
        ("tests/integration/test_sandbox.py",),
        (
            "a held mail's try is counted",
            '"attempts": Notification.attempts - 1, "error": reason}  #',
            '"error": reason}  #',
        ),
        (
            "a held mail is tried at once",
            "return or_(row.claimed_at.is_(None), row.claimed_at < func.clock_timestamp() - HELD_FOR)",
            "return true()",
        ),
        (
            "late mails of the sandbox go out",
            "            row.scheduled_for < func.clock_timestamp() - dt.timedelta(hours=hours),\n            held,",
            "            row.id.is_(None),\n            held,",
        ),
        ("mails that wait for another reason are suppressed", "            held,\n        )", "        )"),
    ),
    *breaks(
        "outbox/notices.py",
        ("tests/integration/test_notifications.py",),
        ("a plan counts what was told already", "offers.c.allowed, ~known)", "offers.c.allowed)"),
        ("a plan counts what preferences block", "where(offers.c.allowed, ~known)", "where(~known)"),
        (
            "a notice is written twice",
            '.on_conflict_do_nothing(index_elements=["dedupe_key"])\n\n\ndef _counts',
            "\n\n\ndef _counts",
        ),
        ("what preferences block is written", ".where(offers.c.allowed, *which)", ".where(true(), *which)"),
        (
            "a channel that does not reach somebody is used",
            ".join(channels, channels.c.channel == any_(people.c.channels))",
            ".join(channels, true())",
        ),
        (
            "the preference is not asked",
            "for name in (via.channel, via.preference) if name)",
            "for name in (via.channel,) if name)",
        ),
        (
            "the channel's preference is not asked",
            "for name in (via.channel, via.preference) if name)",
            "for name in (via.preference,) if name)",
        ),
        (
            "quiet hours do not move a notice",
            "return case((quiet, at_zone",
            "return case((and_(quiet, literal(False)), at_zone",
        ),
        (
            "quiet hours end a day early",
            "case((and_(overnight, clock >= start), 1), else_=0)",
            "case((and_(overnight, clock >= start), 0), else_=0)",
        ),
        (
            "the outbox's refusal stops all others",
            "        if not (is_row_error(error) or is_locked(error)):\n            raise\n        waited_for",
            "        raise\n        waited_for",
        ),
    ),
    *breaks(
        "store/backups.py",
        ("tests/integration/tables/test_own_backup.py", "tests/integration/example/jobs/test_backup.py"),
        ("the last block of each part is not exported", "and ctid < '({last},0)'\"", "and ctid < '({last - 1},0)'\""),
        (
            "the first block of each part is not exported",
            "where ctid >= '({first},0)'",
            "where ctid > '({first},65535)'",
        ),
        ("only the number of rows is compared", "    if found != expected:", "    if found.rows != expected.rows:"),
        ("the digest is not compared", 'table["bytes"], table["sha256"])', 'table["bytes"], found.sha256)'),
        ("what is to be left out is saved", 'kept = "" if self.only is None else', 'kept = "" if True else'),
        (
            "a table that is left out is saved",
            "(row.name not in left_out or left_out[row.name] is not None)\n    ]",
            "True\n    ]",
        ),
        (
            "what the role cannot read is left out silently",
            "        if row.refused is not None and (row",
            "        if False and (row",
        ),
        ("children are exported with their parents", "from only {self.quoted}", "from {self.quoted}"),
    ),
    *breaks(
        "steps/backups/verification.py",
        ("tests/integration/tables/test_own_backup.py", "tests/integration/example/jobs/test_backup.py"),
        ("the manifest is not checked", "    if found != backup.sha256:", "    if False:"),
        (
            "a backup succeeds before it is read back",
            "if checked == len(backup.manifest",
            "if checked <= len(backup.manifest",
        ),
        (
            "a damaged backup is not failed",
            '                settle(batch.session, backup.id, "failed", str(error))\n',
            "                pass\n",
        ),
        ("a damaged backup fails no run", "        if damage is not None:\n            raise damage\n", ""),
        ("no part is read back", "        check(table, parts)\n        batch", "        batch"),
    ),
    *breaks(
        "steps/backups/expiry.py",
        ("tests/integration/example/jobs/test_backup.py",),
        (
            "objects of an expired backup stay",
            "                execution.resources.files.delete(found.key)\n",
            "                pass\n",
        ),
        (
            "a snapshot that cannot be deleted counts as expired",
            '                batch.quarantine(f"{BACKUPS}:{backup.id}", str(error))\n                continue',
            '                batch.quarantine(f"{BACKUPS}:{backup.id}", str(error))',
        ),
    ),
    *breaks(
        "steps/backups/export.py",
        ("tests/integration/example/jobs/test_backup.py", "tests/integration/tables/test_own_backup.py"),
        (
            "an interrupted backup counts as consistent",
            '"consistent": len({table["snapshot"] for table in tables}) <= 1',
            '"consistent": True',
        ),
        ("a failed export is not noted", "            _note_failure(execution, place, error)\n", ""),
        ("an export is no snapshot", "execution.batch(snapshot=True)", "execution.batch()"),
        (
            "tables that are exported already are exported again",
            '        if source.name in {table["name"] for table in tables}:\n            continue\n',
            "",
        ),
    ),
    *breaks(
        "store/records.py",
        ("tests/integration/example/jobs/test_backup.py",),
        (
            "the last good backup goes",
            ".where(Backup.id.not_in([backup_id for backup_id in kept if backup_id is not None]))",
            ".where(Backup.id.is_not(None))",
        ),
        ("a backup goes before its time", "Backup.expires_at <= run.now)", "Backup.expires_at.is_not(None))"),
        (
            "a failed backup counts as the last good one",
            'Backup.kind == kind, Backup.status == "succeeded")',
            "Backup.kind == kind)",
        ),
        ("an inconsistent backup counts as the last whole one", "    if whole:\n", "    if False:\n"),
        (
            "a good backup is made again",
            '("failed", "running") if kind == "logical" else ("failed",)',
            '("failed", "running", "succeeded")',
        ),
        (
            "an abandoned backup stays running",
            'values(status="failed", error="its',
            'values(status="running", error="its',
        ),
        ("Sundays' backups go with the others", "if run.now.weekday() == SUNDAY and", "if False and"),
        ("the shortest tier wins", "return max(tiers", "return min(tiers"),
    ),
    *breaks(
        "store/restoring.py",
        ("tests/integration/example/jobs/test_backup.py", "tests/integration/tables/test_own_backup.py"),
        ("a restore does not read the backup first", "    verify(manifest, parts)\n    with", "    with"),
        (
            "a restore writes over rows",
            'elif connection.exec_driver_sql(f"select exists (select from only {qualified})").scalar():',
            "elif False:",
        ),
        ("triggers stay on in a restore", " + _disable_triggers(connection)\n", "\n"),
        (
            "triggers stay off and keys away after a restore",
            "        for statement in again_later:\n            connection.exec_driver_sql(statement)\n",
            "",
        ),
        (
            "sequences begin anew after a restore",
            '            _continue_sequences(connection, table, manifest.get("sequences", {}))',
            "            pass",
        ),
        (
            "an inconsistent backup is restored",
            'if not manifest["consistent"] and not accept_inconsistent:',
            "if False:",
        ),
        (
            "another schema is restored into",
            "if (found := schema_version(session)) != versions:",
            "if (found := schema_version(session)) is None:",
        ),
        (
            "a restore repeats no erasure",
            "again.again(session, owed) if again is not None",
            "again.again(session, ()) if again is not None",
        ),
        (
            "the run that made the backup goes on",
            '        run.values(state="cancelled", reason',
            "        run.values(reason",
        ),
        (
            "a damaged schema is restored",
            '    if hashlib.sha256(content).hexdigest() != known["sha256"]:',
            "    if False:",
        ),
    ),
    *breaks(
        "steps/rollup.py",
        (
            "tests/integration/example/jobs/test_daily_analytics.py",
            "tests/integration/example/jobs/test_weekly_aggregation.py",
        ),
        (
            "a resumed roll-up is done again",
            "        if execution.position is not None:\n            return\n        period",
            "        period",
        ),
        (
            "unchanged figures are written again",
            "figures_differ=stored is None or tuple(stored) != (period.end, dict(figures.data))",
            "figures_differ=True",
        ),
        (
            "changed figures are not written",
            "figures_differ=stored is None or tuple",
            "figures_differ=stored is None and tuple",
        ),
        ("a finding that is none any more stays", "        if self.dropped:\n", "        if False:\n"),
        (
            "another scope's findings go",
            "    return (\n        MetricFinding.kind == step.finding,\n        MetricFinding.scope == step.scope,\n",
            "    return (\n        MetricFinding.kind == step.finding,\n",
        ),
        ("another period's findings go", "        MetricFinding.period_start == period.start,\n", ""),
    ),
    *breaks(
        "steps/recompute.py",
        ("tests/integration/tables/test_recompute.py", "tests/integration/example/jobs/test_recalculate_karma.py"),
        (
            "a dead run's list breaks the next recomputation",
            "        session.execute(delete(Difference).where(Difference.step == self.name))\n        differing",
            "        differing",
        ),
        (
            "what somebody has changed meanwhile is written over",
            "                as_type(figures.stored, Numeric).is_not_distinct_from(old),\n",
            "",
        ),
        (
            "rows that are not meant any more are written",
            "                figures.subject.condition,\n            )\n            .returning",
            "            )\n            .returning",
        ),
        (
            "a listed row is left out",
            "row.position > after, row.position <= upto",
            "row.position > after + 1, row.position <= upto",
        ),
        (
            "the list is not taken away",
            "Difference.step == self.name))\n                batch.position",
            'Difference.step == ""))\n                batch.position',
        ),
        (
            "a refused figure stops the others",
            "                elif is_row_error(error):\n                    self._quarantine",
            "                elif False:\n                    self._quarantine",
        ),
        (
            "what passes is tried for ever",
            "if is_passing(error) and passing < PASSING_ERRORS_IN_A_ROW:",
            "if is_passing(error):",
        ),
        (
            "nothing that passes is tried again",
            "if is_passing(error) and passing < PASSING_ERRORS_IN_A_ROW:",
            "if False:",
        ),
        (
            "a quarantined figure is tried again",
            'batch.count(**{self.failed: 1})\n            batch.position = {**place, "after": place["after"] + 1}',
            'batch.count(**{self.failed: 1})\n            batch.position = {**place, "after": place["after"]}',
        ),
        (
            "rows that are equal are written",
            ".where(self.subject.condition, found.is_distinct_from(figure))",
            ".where(self.subject.condition)",
        ),
        (
            "a row without figures keeps its own",
            "value = func.coalesce(as_type(self.computed.c[COMPUTED], Numeric), 0)",
            "value = as_type(self.computed.c[COMPUTED], Numeric)",
        ),
    ),
    *breaks(
        "ledger/backfills.py",
        ("tests/integration/test_backfills.py",),
        (
            "a backfill begins beside an open run",
            "if session.scalar(another.limit(1)) is not None or pause",
            "if pause",
        ),
        ("a backfill begins in a pause", " or pause_in_force(session, registered, clock) is not None:", ":"),
        (
            "a backfill takes an occurrence's time",
            "return following is None or following - clock > usual",
            "return True",
        ),
        (
            "a failed run does not pause its backfill",
            'if record is not None and record.state in ("failed", "cancelled"):',
            "if False:",
        ),
        (
            "a backfill goes past an open run of its own",
            "    if record is not None and record.state in OPEN_STATES:\n        return False\n",
            "",
        ),
        (
            "a backfill begins at its beginning each time",
            "schedule.between(backfill.reached, backfill.until)\n    for",
            "schedule.between(backfill.since, backfill.until)\n    for",
        ),
        ("a backfill runs what has succeeded", '    return reprocess == "all" or', '    return reprocess != "none" or'),
        ("a backfill leaves failures out", ' or (reprocess == "failed" and state in ("failed", "cancelled"))', ""),
        (
            "a backfill leaves out what was left out",
            "    if state is None or state in UNDONE:",
            "    if state is None:",
        ),
        (
            "a backfill runs a plan's occurrence",
            '            RunRecord.scheduled_for == time,\n            RunRecord.mode == "apply",\n',
            "            RunRecord.scheduled_for == time,\n",
        ),
        ("a backfill of times to come is taken", "    if until > clock:\n", "    if False:\n"),
        ("a backfill of any length is taken", "if len(times) > MOST_OCCURRENCES:", "if False:"),
        ("a redriven run does not give way", "            record.trigger = request.trigger  #", "            pass  #"),
        (
            "the youngest backfill comes first",
            "order_by(Backfill.created_at, Backfill.id).limit(1)",
            "order_by(Backfill.created_at.desc(), Backfill.id).limit(1)",
        ),
        ("a paused backfill goes on", 'Backfill.job == name, Backfill.state == "open")', "Backfill.job == name)"),
        ("an ended backfill is changed", "    if backfill.state not in AT_WORK:", "    if False:"),
        (
            "a backfill never ends",
            "    if next(schedule.between(backfill.reached, backfill.until), None) is None:",
            "    if False:",
        ),
        ("a backfill keeps no count", "backfill.counts.get(what, 0) + 1", "backfill.counts.get(what, 0)"),
    ),
    *breaks(
        "ledger/anomalies.py",
        ("tests/integration/test_anomalies.py",),
        ("five runs are too few", "if len(history) < LEAST_HISTORY:", "if len(history) <= LEAST_HISTORY:"),
        ("a slow run is never told", "if seconds > TIMES_SLOWER * usual and", "if False and"),
        ("seconds more are told", " and seconds - usual > LEAST_SECONDS_LONGER:", ":"),
        ("a run that touched nothing is not told", "if touched == 0 and", "if False and"),
        ("what usually touches nothing is told", "sum(number > 0 for number in rows) >= USUALLY * len(rows)", "True"),
        ("a run that touched far more is not told", "if far_more and touched", "if False and touched"),
        ("some rows more are told", " and touched - middle >= LEAST_ROWS_MORE:", ":"),
        (
            "twice the most is told",
            "touched > TIMES_MORE * middle and touched > TIMES_THE_MOST * max(rows)",
            "touched > TIMES_MORE * middle",
        ),
        (
            "what people asked for is judged",
            '            RunRecord.trigger.in_(UNASKED), RunRecord.mode == "apply", or_(ended',
            '            RunRecord.mode == "apply", or_(ended',
        ),
        (
            "runs are judged by what people asked for",
            "            RunRecord.trigger.in_(UNASKED),\n            RunRecord.scheduled_for <",
            "            RunRecord.scheduled_for <",
        ),
        ("what is unusual is told again", "if kind not in known]", "]"),
        ("a judged run is judged again", "        record.judged_at = database_clock(session)\n", "        pass\n"),
        ("a paused job's silence is told", "            and pause_in_force(session, registered, clock) is None\n", ""),
        ("a silence is told again", "    if registered.silent_since == since or", "    if"),
        ("one period without a success is told", "<= PERIODS_WITHOUT_SUCCESS * schedule", "<= schedule"),
        ("a silence is never told", "    if clock - since <= PERIODS", "    if True or clock - since <= PERIODS"),
        (
            "failures count as successes",
            'RunRecord.job == RegisteredJob.name, RunRecord.state == "succeeded")',
            "RunRecord.job == RegisteredJob.name)",
        ),
    ),
    *breaks(
        "ledger/pauses.py",
        (
            "tests/integration/test_control.py",
            "tests/integration/test_occurrences.py",
            "tests/integration/test_dials.py",
        ),
        ("a pause has no end", "(registered.paused_until is not None and registered.paused_until <= clock)", "False"),
        ("a pause of all has no end", "(found.paused_until is not None and found.paused_until <= clock)", "False"),
        (
            "a pause of all does not hold",
            "return pause_of_one(registered, clock) or pause_of_all(session, clock)",
            "return pause_of_one(registered, clock)",
        ),
        (
            "a job's own pause does not hold",
            "return pause_of_one(registered, clock) or pause_of_all(session, clock)",
            "return pause_of_all(session, clock)",
        ),
        ("a pause ends at once", "registered.paused_until <= clock):", "registered.paused_until >= clock):"),
    ),
    *breaks(
        "operations/control.py",
        ("tests/integration/test_control.py", "tests/integration/test_dials.py"),
        ("a run of a disabled job is redriven", "if deployed is None or not deployed.enabled:", "if deployed is None:"),
        (
            "a run of no deployed job is redriven",
            "if deployed is None or not deployed.enabled:",
            "if deployed is not None and not deployed.enabled:",
        ),
        (
            "a command needs no name",
            "    if not isinstance(value, str) or not value.strip():",
            "    if not isinstance(value, str):",
        ),
        (
            "a pause until yesterday is taken",
            '    if instant <= clock:\n        raise EventError(f"{key} must lie',
            '    if False:\n        raise EventError(f"{key} must lie',
        ),
        (
            "a refused command leaves no trace",
            '            session.add(CommandRecord(**asked, **named, result=printable(f"refused: {refusal}")))',
            "            pass",
        ),
        ("a job and all are taken", "        if of_all and job is not None:", "        if False:"),
        (
            "a resume ends the end alone",
            "registered.paused_at = registered.paused_by = registered",
            "registered.paused_by = registered",
        ),
    ),
    *breaks(
        "ledger/upkeep.py",
        ("tests/integration/test_supervisor.py",),
        (
            "what a person asked for is begun by itself",
            "and_(RunRecord.trigger.not_in(ASKED), _waits_for_a_retry(RETRY_PATIENCE))",
            "_waits_for_a_retry(RETRY_PATIENCE)",
        ),
        ("a run that died with a word counts as dead", 'how == "lost")', 'how != "lost")'),
        (
            "a plan's failure is told",
            'RunRecord.state == "failed", RunRecord.mode == "apply", RunRecord.told_at.is_(None)',
            'RunRecord.state == "failed", RunRecord.told_at.is_(None)',
        ),
        (
            "a failure is told each round",
            'RunRecord.mode == "apply", RunRecord.told_at.is_(None))',
            'RunRecord.mode == "apply")',
        ),
        (
            "another job's recovery is noted",
            'session, "recovered_at", RunRecord.job == job, RunRecord.told',
            'session, "recovered_at", RunRecord.told',
        ),
        (
            "a recovery is told again",
            ".where(failed.told_at.is_not(None), failed.recovered_at.is_(None))",
            ".where(failed.told_at.is_not(None))",
        ),
        (
            "the attempt of a cancelled run stays open",
            'lost.values(ended_at=clock, ending="lost")',
            'lost.values(ending="lost")',
        ),
        (
            "an ended run of a disabled job is cancelled",
            "return (RunRecord.state.in_(OPEN_STATES), or_(RunRecord.state",
            "return (or_(RunRecord.state",
        ),
        ("two supervisors settle a run", "_exhausted()).with_for_update(skip_locked=True)", "_exhausted())"),
        (
            "the dead attempt is not closed",
            '        end_attempt(session, record, clock, "lost")\n        fail(',
            "        fail(",
        ),
        ("a run that waited is told as dead", '        if record.state == "retrying":', "        if False:"),
        (
            "commands are kept for ever",
            "    _delete(session, CommandRecord, ancient.order_by(CommandRecord.at))\n",
            "",
        ),
    ),
    *breaks(
        "operations/supervisor.py",
        ("tests/integration/test_supervisor.py",),
        ("the supervisor gives no sign of life", "        ledger.note_alive(session, ledger.SUPERVISOR)\n", ""),
        ("nobody stays", "while waits and invoke.open", "while False and invoke.open"),
        (
            "missed occurrences are not looked for",
            "            unannounced += occurrences.account(session, watched, jobs[watched.name])",
            "            pass",
        ),
        (
            "dead runs are not settled",
            "            failed += _give_up(session, dead, critical=dead.job in critical)",
            "            pass",
        ),
        (
            "open runs of disabled jobs are left",
            "            ledger.settle_left_behind(session, job, why)",
            "            pass",
        ),
        (
            "failures are told to nobody in words",
            "            _tell(session, say, apart)",
            "            pass",
        ),
        ("a failure is told twice in words", "            ledger.note_told(session, run.id)", "            pass"),
        ("a recovery is told each round", "            ledger.note_recovered(session, run.job)", "            pass"),
        (
            "what a run that died says is that it failed",
            'why = "LeaseExpired" if died else "RunFailed"',
            'why = "RunFailed"',
        ),
        ("caught-up occurrences are not measured", "        OccurrencesCaughtUp=caught_up,\n", ""),
    ),
    *breaks(
        "operations/supervisor.py",
        SUPERVISOR,
        (
            "held jobs are begun",
            "may_go_on = {name: jobs[name] for name in working if name not in kept_back}",
            "may_go_on = {name: jobs[name] for name in working}",
        ),
        (
            "a freeze holds nobody back",
            "        if freeze is not None:\n            found[name] = str(freeze)",
            "        if False:\n            found[name] = str(freeze)",
        ),
    ),
    *breaks(
        "operations/supervisor.py",
        ("tests/integration/test_backfills.py",),
        ("nobody stays for a backfill", "return filling or waiting", "return waiting"),
        (
            "a backfill of a job that is gone stays open",
            "_settle_backfills(session, jobs, misunderstood, say, apart)",
            "pass",
        ),
        ("a backfill of a job with bad settings is ended", "[*enabled, *misunderstood], jobs)", "enabled, jobs)"),
        (
            "nobody hears of a backfill that is ended",
            '                tell(Notice(f"A backfill',
            '                print(Notice(f"A backfill',
        ),
    ),
    *breaks(
        "runtime/handler.py",
        ("tests/integration/test_measures.py", "tests/integration/test_ledger.py", "tests/integration/test_outages.py"),
        (
            "an error of the statement is a lost connection",
            "if sqlstate(cause) == READ_ONLY or not still_answers(session):",
            "if True:",
        ),
        (
            "a lost connection is a failure",
            "if sqlstate(cause) == READ_ONLY or not still_answers(session):",
            "if False:",
        ),
        ("a failover fails the attempt", "if sqlstate(cause) == READ_ONLY or not", "if not"),
        (
            "what no retry would help is tried again",
            "describe(cause), isinstance(cause, PermanentError)",
            "describe(cause), False",
        ),
        (
            "a run that lost its connection does not go on",
            "    while ended.lost and not deadline.near:",
            "    while False:",
        ),
        (
            "an answer that was lost is a failure",
            "            ended = ended._replace(superseded=True)\n            standing",
            "            standing",
        ),
        ("the cause is lost with the connection", 'told = ended.reason or "out of time"', 'told = "out of time"'),
        (
            "a claim is granted for ever",
            "        seconds = database.deadline.remaining\n",
            "        seconds = 86_400\n",
        ),
    ),
    *breaks(
        "runtime/handler.py",
        ("tests/integration/test_engine.py",),
        ("progress is not counted", "progressed=execution.progressed, held", "progressed=False, held"),
    ),
    *breaks(
        "runtime/reach.py",
        ("tests/integration/test_outages.py",),
        ("a refused login is tried again", "if not (is_away(cause) or rotated) or self", "if self"),
        ("a secret that is just rotated fails the attempt", "(is_away(cause) or rotated)", "is_away(cause)"),
        ("a refused password is tried for ever", "waited < ROTATION_SECONDS and self", "self"),
        (
            "an outage is not waited for in the middle",
            "pause = self._before_the_next_try(cause, pauses, spare)",
            "raise",
        ),
        ("patience is not heeded", "until = max(reserve, self.deadline.remaining - patience)", "until = reserve"),
    ),
    *breaks(
        "runtime/paging.py",
        ("tests/integration/example/jobs/test_health_check.py",),
        (
            "a database that is away pages nobody",
            "            database_unreachable()\n            raise",
            "            raise",
        ),
        (
            "a page hides the failure",
            "            database_unreachable()\n            raise",
            "            database_unreachable()\n            return {}",
        ),
    ),
    *breaks(
        "database/values.py",
        ("tests/integration/example/test_odd_dates.py", "tests/integration/example/jobs/test_expiry_notifications.py"),
        (
            "a date that Python cannot hold is an error",
            "    if not _INSTANT.fullmatch(text):\n        return text\n",
            "    return dt.datetime.fromisoformat(text)\n",
        ),
    ),
    *breaks(
        "infra/platform/alarms.py",
        ("tests/infra/test_platform.py",),
        (
            "a dispatcher that does not run is no alarm",
            '        "dispatcher-silent",',
            '        "dispatcher-silenced",',
        ),
    ),
    *breaks(
        "steps/health.py",
        ("tests/integration/example/jobs/test_health_check.py", "tests/integration/tables/test_own_health.py"),
        (
            "notices in the application may wait for ever",
            "and channel <> 'push' and scheduled_for",
            "and channel in ('email', 'ops') and scheduled_for",
        ),
    ),
    *breaks(
        "database/migrations/__init__.py",
        ("tests/integration/test_migrations.py", "tests/integration/test_migrate.py"),
        ("any encoding will do", '    if encoding != "UTF8":', "    if False:"),
    ),
    *breaks(
        "cli/backup.py",
        ("tests/unit/test_cli.py",),
        (
            "a restore that cannot connect is a traceback",
            "    except (DBAPIError, OSError) as error:\n        says",
            "    except LookupError as error:\n        says",
        ),
        (
            "a wrong setting of a restore is a traceback",
            '    except SettingError as error:\n        raise RefusedError(f"{option}: {error}") from None\n',
            "",
        ),
    ),
    *breaks(
        "runtime/entry.py",
        (*MEASURES, "tests/unit/test_entry.py"),
        ("metrics are not written", "            telemetry.flush()\n", "            pass\n"),
        ("an invocation logs the keys of the one before", "        telemetry.logger().clear_state()\n", ""),
        ("garbage is never looked for again", "        gc.enable()\n", "        pass\n"),
    ),
    *breaks(
        "outbox/parcels.py",
        APART,
        (
            "a row that cannot be claimed stops the others",
            "        left.note(key, describe(cause), cause)\n",
            "        raise\n",
        ),
        ("a row that was kept as it was is claimed again", "        left.note(key, KEPT, None)\n", ""),
        ("what is held is waited for", "found.with_for_update(skip_locked=True)", "found.with_for_update()"),
        ("a row that refuses is tried for ever", "            if key not in done:", "            if False:"),
        (
            "a claim without a time is never given up",
            "func.coalesce(row.claimed_at, row.scheduled_for)",
            "row.claimed_at",
        ),
        (
            "a claim of tomorrow is never given up",
            "or_(claimed_at < now - LEASE, claimed_at > now + LEASE)",
            "claimed_at < now - LEASE",
        ),
        (
            "data that nobody can read stops the others",
            "except (ValueError, RecursionError) as error:",
            "except KeyError as error:",
        ),
        ("tries overflow", "func.least(row.attempts, MOST_COUNTED - 1) + 1", "row.attempts + 1"),
        (
            "who could not be told comes first again",
            "row.channel == channel, row.attempts > 0)",
            "row.channel == channel, row.attempts > 99)",
        ),
    ),
    *breaks(
        "outbox/pace.py",
        APART,
        ("a channel that fails is tried on", " or self.failures > self.most_failures + self.works:", ":"),
        ("one failure among successes ends the channel", "self.most_failures + self.works", "self.most_failures"),
        ("failures are counted for ever", "self.failures, self.works = 0, True", "self.works = True"),
    ),
    *breaks(
        "outbox/dispatcher.py",
        APART,
        ("a channel takes all the time", "else _share(deadline, 2)", "else deadline"),
        ("what was not marked stops the others", '        return "unmarked"\n', "        raise\n"),
        (
            "an error that may be that of all is silent",
            "        raise cause\n    return +counts",
            "        pass\n    return +counts",
        ),
    ),
    *breaks(
        "outbox/outlets.py",
        APART,
        ("a call is made again", '"total_max_attempts": 1', '"total_max_attempts": 3'),
        ("an unknown code is no throttling", " or status == 429", ""),
    ),
    *breaks(
        "outbox/pager.py",
        ("tests/integration/test_paging.py",),
        (
            "a page that failed has worked",
            "        return False\n    return True",
            "        return True\n    return True",
        ),
    ),
    *breaks(
        "runtime/paging.py",
        ("tests/integration/test_paging.py",),
        ("operators are paged again after days", "minutes=5", "days=5"),
    ),
    *breaks(
        "operations/control.py",
        CONTROL,
        (
            "a cap is lifted without a reason",
            '{"by": who, "reason": _words("reason", reason)} if',
            '{"by": who, "reason": str(reason)} if',
        ),
    ),
    *breaks(
        "ledger/dials.py",
        FREEZES,
        ("who holds all jobs holds nobody", 'if row["held"]:', 'if row["held"] and row["job"] != EVERY_JOB:'),
    ),
    *breaks(
        "declaration/windows.py",
        FREEZES,
        ("a freeze holds at its end", "<= instant < self.until", "<= instant <= self.until"),
        (
            "the freeze that ends first is told",
            "return max((each for each in freezes",
            "return min((each for each in freezes",
        ),
    ),
    *breaks(
        "ledger/claims.py",
        KEPT,
        ("a freeze gives up what has begun", "        RunRecord.epoch == 0,\n", ""),
        (
            "a freeze gives up what was asked for",
            "        RunRecord.trigger.in_(UNASKED),\n        RunRecord.epoch",
            "        RunRecord.epoch",
        ),
        ("a freeze gives up what is wanted every time", '    if policy.missed != "latest":\n        return\n', ""),
        ("a run that has begun is not caught up", " in UNASKED and record.epoch == 0", " in UNASKED"),
    ),
    *breaks(
        "ledger/endings.py",
        KEPT,
        ("a held run that has begun is missed", "in UNASKED and not begun", "in UNASKED"),
        ("a held run that was asked for is missed", "record.trigger in UNASKED and not begun", "not begun"),
        (
            "the first errors are kept",
            "[*record.errors, error][-ERRORS_KEPT:]",
            "[*record.errors, error][:ERRORS_KEPT]",
        ),
    ),
    *breaks(
        "ledger/batches.py",
        KEPT,
        (
            "a run that waits for strain is anybody's",
            "counters=dict(counters), lease_until=_in(seconds))",
            "counters=dict(counters))",
        ),
    ),
    *breaks(
        "ledger/upkeep.py",
        SUPERVISOR,
        (
            "a locked old run is waited for",
            ".limit(FORGOTTEN_AT_ONCE).with_for_update(skip_locked=True)",
            ".limit(FORGOTTEN_AT_ONCE)",
        ),
    ),
    *breaks(
        "operations/supervisor.py",
        SUPERVISOR,
        ("silence is tried on", "                self._left = 0\n", "                pass\n"),
        ("telling has all the time", "            self._left -= time.monotonic() - begun\n", "            pass\n"),
    ),
    *breaks(
        "database/driver.py",
        ("tests/integration/test_connections.py", "tests/unit/test_driver.py"),
        (
            "half of a statement is sent",
            "                part.encode(self._client_encoding)\n",
            "                pass\n",
        ),
        ("percent signs are doubled", "not values and not many else", "not values and many else"),
    ),
    *breaks(
        "database/values.py",
        ("tests/integration/test_connections.py",),
        (
            "what Python cannot hold ends the answer",
            "        except (ValueError, ",
            "        except (KeyboardInterrupt, ",
        ),
    ),
    *breaks(
        "database/connection.py",
        ("tests/integration/test_outages.py",),
        (
            "throttled credentials end the attempt",
            "passes = status >= 500 or",
            "passes = status >= 600 or",
        ),
        ("a secret is quoted", "    except (KeyError, TypeError, ValueError):", "    except ZeroDivisionError:"),
    ),
    *breaks(
        "ledger/claims.py",
        OUTAGES,
        (
            "a claim that nobody heard of waits for its lease",
            "return None if session.scalar(mine) is None else self.claim",
            "return None",
        ),
        (
            "somebody else's claim is taken for one's own",
            "                Attempt.started_at == self.begun_at,\n",
            "",
        ),
    ),
    *breaks(
        "engine/pacing.py",
        STRAIN,
        (
            "a dial that a look brings holds from the batch after",
            "        self._rest()  # a look may",
            "        # a look may",
        ),
    ),
    *breaks(
        "engine/strain.py",
        STRAIN,
        ("a comment opens the gate", "rstrip(';')}\\n) as gate", "rstrip(';')}) as gate"),
        ("only the first row of the gate counts", "as alone limit 2", "as alone limit 1"),
    ),
    *breaks(
        "store/restoring.py",
        OWN_BACKUP,
        ("rows must pass checks that are not valid", " or contype = 'c' and not convalidated and", " or false and"),
    ),
    *breaks(
        "store/schema.py",
        OWN_BACKUP,
        ("a trigger that was off is on", "case t.tgenabled when 'D' then 'disable' when", "case t.tgenabled when"),
    ),
    *breaks(
        "database/driver.py",
        OWN_BACKUP,
        (
            "what COPY refuses is told with its row",
            "    except legacy.Error as error:\n",
            "    except ZeroDivisionError as error:\n",
        ),
    ),
    *breaks(
        "engine/candidates.py",
        MEANWHILE,
        ("what other code has counted holds", "if before is None or before ==", "if True or before =="),
        ("what is done counts towards no cap", "for plan in plans) + done", "for plan in plans)"),
        ("rows of another query are gone over", "        ledger.forget_keys(session, run.id)\n", "        pass\n"),
        ("a run goes on at the cursor of other queries", "    execution.begin_anew()\n", "    pass\n"),
    ),
    *breaks(
        "ledger/claims.py",
        MEANWHILE,
        (
            "a run has no parameter that came later",
            "        record.parameters = {**request.parameters, **record.parameters}\n",
            "        pass\n",
        ),
        (
            "an open run takes the parameters of a later deployment",
            "record.parameters = {**request.parameters, **record.parameters}",
            "record.parameters = {**record.parameters, **request.parameters}",
        ),
    ),
    *breaks(
        "engine/execution.py",
        MEANWHILE,
        (
            "a step updates rows of another query",
            "                ledger.start_over(self.session, self.claim, step.name)\n",
            "                pass\n",
        ),
    ),
    *breaks(
        "steps/rows.py",
        NEW_VALUES,
        ("a new value is cut off to its column", "SqlType(each.sent_as)", "SqlType(each.type)"),
    ),
    *breaks(
        "steps/update.py",
        NEW_VALUES,
        ("a plan looks at no new value", "        self._refuse_new_values(session, run, subject)\n", "        pass\n"),
    ),
    *breaks(
        "steps/conditions.py",
        ("tests/integration/tables/test_what_is_old.py",),
        (
            "a value is cut off before it is compared",
            "value.type = SqlType(known.sent_as)",
            "value.type = SqlType(known.type)",
        ),
    ),
    *breaks(
        "engine/sweeping.py",
        NEW_VALUES,
        (
            "rows that a trigger keeps are not told",
            "            self._tell_what_triggers_kept()\n",
            "            pass\n",
        ),
    ),
    *breaks(
        "engine/sweeping.py",
        ("tests/integration/tables/test_what_is_refused.py",),
        ("a locked row that is let go fails the run", " - self._tried_again\n", "\n"),
        (
            "each locked row costs the whole wait",
            "ROW_LOCK_MILLISECONDS / 1000 if pace.wary else LOCK_SECONDS",
            "LOCK_SECONDS",
        ),
    ),
    *breaks(
        "engine/subject.py",
        ("tests/integration/tables/test_what_was_meant.py",),
        ("emptied references are no change", "return emptied or any(", "return any("),
        ("triggers are no change", 'self.action == "delete" or not each.before', "False"),
        ("stable functions read nothing", "provolatile = 's' and", "provolatile = 'x' and"),
    ),
    *breaks(
        "engine/ways.py",
        ("tests/integration/tables/test_what_was_meant.py",),
        (
            "the condition is asked again of every row",
            "or_(unchanged, self._subject.condition)",
            "self._subject.condition",
        ),
        ("changed rows go as well", ", or_(unchanged, self._subject.condition)]", "]"),
    ),
    *breaks(
        "steps/rows.py",
        ("tests/integration/tables/test_what_is_refused.py", "tests/integration/tables/test_what_was_meant.py"),
        (
            "SQL may end its own parentheses",
            "            said = self._as_understood(session, said, source)\n",
            "            pass\n",
        ),
        (
            "a condition that is none means every row",
            '        check_condition(f"step {self.name}: where", found',
            '        (lambda *_: None)("", found',
        ),
        ("rows that an earlier step empties are meant", "if keys_first or meant or", "if keys_first or"),
    ),
    *breaks(
        "catalogue/kinds.py",
        KINDS,
        (
            "where somebody sat proves a machine",
            "    if not seen.told & ANSWERED and",
            "    if not seen.told & STRONG and",
        ),
        ("one sign beside an unknown word is enough", "return number >= (1 if known else 2)", "return number >= 1"),
        ("what people ask for is a machine's", " and seen.noun not in _ASKED\n", "\n"),
        ("the level of water is one of a log", "not in _NUMBERS for column", "not in () for column"),
        ("a code of a door lets somebody in at a server", "or seen.told & _HANDED_OUT", "or seen.told"),
        (
            "tokens by which a device is reached are spent",
            "    return not opens and bool(",
            "    return False and bool(",
        ),
        (
            "a list of what is to be done again is work that is done",
            "(seen.told & _DEFINED or seen.every & _AGAIN)",
            "()",
        ),
        ("a cart that became an order is left behind", '(noun.kind == "cart" and _is_bought(seen))', "False"),
        ("who changed what is a log like others", " and seen.told & _CHANGED)", " and ())"),
        ("money in other languages is none", " or _is_of_money_elsewhere(seen.name):", ":"),
        (
            "what is kept by keys until it ends is a cache",
            " and seen.expires and seen.every <= _STORES",
            " and seen.expires",
        ),
        ("a program that has not ended is done", "if noun is _PROGRAMS and not ends", "if False and not ends"),
        ("a log of migrations is their bookkeeping", 'seen.noun not in ("log", "logging") or', "True or"),
    ),
    *breaks(
        "catalogue/proposals.py",
        KINDS,
        ("a revocation goes before its end", 'roles = {"expiry": roles["expiry"]}', "pass"),
        ("a token goes that another one renews", "else not renewed(columns)", "else True"),
        ("of two ends the first one counts", "return expiry in renewing if renewing else", "return"),
    ),
    *breaks(
        "catalogue/questions.py",
        ("tests/integration/tables/test_suggest.py",),
        ("the statistics of all tables are read for one", "and not inherited offset 0", "and not inherited"),
    ),
    *breaks(
        "engine/tally.py",
        ("tests/integration/tables/test_what_goes_along.py",),
        ("a table that a trigger drops is nothing", "pg_stat_get_tuples_inserted(l.relation) > 0", "false"),
    ),
    *breaks(
        "engine/checking.py",
        ("tests/integration/tables/test_check.py", "tests/integration/tables/test_check_what_follows.py"),
        ("a gate that fails is open", "    if says.unknown is not None:\n        said", "    if False:\n        said"),
        ("what a unique index takes once is taken often", "        if alike and (", "        if False and ("),
    ),
    *breaks(
        "declaration/discovery.py",
        ("tests/unit/test_declarations.py",),
        (
            "one file keeps all others from being found",
            "                broken[name",
            "                raise\n                broken[name",
        ),
    ),
    *breaks(
        "catalogue/partitions.py",
        ("tests/integration/tables/test_partitions.py",),
        (
            "the default part of an old part keeps it",
            "each.against not in (None, OF_ANY_AGE))",
            "each.against is not None)",
        ),
        (
            "what a default partition lacks is not looked at",
            "    if row.is_default and row.parent == root:",
            "    if row.is_default:",
        ),
    ),
    *breaks(
        "engine/ways.py",
        ("tests/integration/tables/test_what_was_meant.py",),
        (
            "a row without a key is where it was",
            "if not (names := _referred_by(self._subject)):",
            "if not (names := ()):",
        ),
        ("rows to which none refers wait", "order_by=[*lonely, ", "order_by=["),
    ),
    *breaks(
        "engine/sweeping.py",
        ("tests/integration/tables/test_what_keeps_a_row.py", "tests/integration/tables/test_what_goes_along.py"),
        (
            "rows that the run has freed are not told",
            "REFERENCED: self.planned.referenced + since}",
            "REFERENCED: self.subject.count_referenced(batch.session)}",
        ),
        (
            "what goes along with one step is another's",
            "int(self.position.get(ALONG, {}).get(cascaded(name), 0))",
            "counters[cascaded(name)]",
        ),
    ),
    *breaks(
        "engine/following.py",
        ("tests/integration/tables/test_what_goes_along.py",),
        (
            "a step is held to what went along with others",
            "int((self.execution.position or {}).get(ALONG, {}).get(counter, 0))",
            "self.execution.counters[counter]",
        ),
    ),
    *breaks(
        "database/driver.py",
        ("tests/unit/test_driver.py",),
        ("values are rounded", "        if isinstance(dbapi_type, UserDefinedType):\n", "        if True:\n"),
    ),
    *breaks(
        "engine/execution.py",
        MEANWHILE,
        ("what stands before is done", ".get(DONE, names[:at])", ".get('', names[:at])"),
    ),
    *breaks(
        "engine/sweeping.py",
        ("tests/integration/tables/test_what_keeps_a_row.py",),
        ("what batches have parted stays", "if missing > 0 and self.subject.goes_together and", "if False and"),
    ),
    *breaks(
        "catalogue/keeping.py",
        ("tests/integration/tables/test_what_keeps_a_row.py",),
        ("each row of a tree is judged alone", "return () if root in found.gone", "return () if True"),
        ("both of two rows go", "refers(child, other, root), ours <= theirs,", "refers(child, other, root), false(),"),
        ("no condition refuses what SET NULL writes", "return bool(reference.checks) or ", "return "),
        (
            "a row whose key is null is lost",
            "(_column(root, ours) == values[theirs]).is_(true())",
            "_column(root, ours) == values[theirs]",
        ),
        ("a table is read for each row", ".correlate(None)).is_(true())", ".correlate(None))"),
    ),
    *breaks(
        "catalogue/questions.py",
        ("tests/integration/tables/test_what_keeps_a_row.py",),
        (
            "a domain takes every null",
            "attnotnull or (select typnotnull from pg_type where oid = atttypid)",
            "attnotnull",
        ),
    ),
    *breaks(
        "catalogue/measures.py",
        ("tests/integration/tables/test_check_measures.py",),
        ("a 0 in some rows is a time", "(share := share_of_never(session, facts, column.name))", "(share := 0)"),
    ),
    *breaks(
        "steps/rows.py",
        (
            "tests/integration/tables/test_what_keeps_a_row.py",
            "tests/unit/test_declarations.py",
        ),
        (
            "the plan names no key that keeps rows",
            "tuple(_keeps(*each) for each in subject.kept_by_key(session)) if referenced else ()",
            "()",
        ),
        ("any word may be a measure", '        must_be(fits, f"{where} measured_in", which, self.measured_in)\n', ""),
    ),
    *breaks(
        "steps/delete.py",
        ("tests/integration/tables/test_partitions.py",),
        (
            "a publication is asked after the partitions have gone",
            "                self._refuse_unidentified(session, divided.rest)\n",
            "                pass\n",
        ),
    ),
    *breaks(
        "engine/deletions.py",
        ("tests/integration/tables/test_held_deletions.py",),
        (
            "a table that nobody declares may be emptied",
            "if not self._step.destructive or name not in self._step.tables:",
            "if not self._step.destructive:",
        ),
        (
            "earlier attempts do not count",
            "self._rows = self.with_this_batch = so_far",
            "self._rows = self.with_this_batch = 0",
        ),
        ("one row too many passes", "self.with_this_batch > self._planned", "self.with_this_batch > self._planned + 1"),
        ("batches are not added up", "self._rows, self._at_zero = self.with_this_batch, True", "self._at_zero = True"),
        (
            "a step that does not destroy may delete",
            "if not self._step.destructive or name not in self._step.tables:",
            "if name not in self._step.tables:",
        ),
    ),
    *breaks(
        "engine/partitions.py",
        ("tests/integration/tables/test_partitions.py",),
        ("a partition that goes is not locked against writers", 'in share mode"', 'in access share mode"'),
        (
            "rows without an age go",
            "return or_(literal_column(quoted(self.column.name)).is_(None), not_(self.older))",
            "return not_(self.older)",
        ),
        ("the deadline of the statement is lost", ", f\"set local statement_timeout to '{limit}'\"]", "]"),
        (
            "the table above locked is told as the partition",
            '        with _briefly(above=True):\n            _run(session, f"lock table {above}',
            '        with _briefly(above=False):\n            _run(session, f"lock table {above}',
        ),
        ("what the position has done is done again", "if name > after], locked, new=True)", "], locked, new=True)"),
        (
            "uuids of other versions go by size",
            'if age.column.base == "uuid" and setting.counted == "by size":',
            "if False:",
        ),
        (
            "begun rows take partitions away",
            "if not stated or (execution.position is not None and WHOLE not in execution.position):",
            "if not stated:",
        ),
    ),
    *breaks(
        "engine/tally.py",
        (
            "tests/integration/tables/test_any_table.py",
            "tests/integration/tables/test_what_goes_along.py",
            "tests/integration/tables/test_held_deletions.py",
        ),
        ("a new table counts as emptied", " and age(t.xmin) > 0\n", "\n"),
    ),
    *breaks(
        "engine/odd_rows.py",
        ("tests/integration/tables/test_odd_rows.py",),
        (
            "the last block is not looked at",
            'range(session.scalar(BLOCKS, {"oid": leaf.oid}) or 0)',
            'range((session.scalar(BLOCKS, {"oid": leaf.oid}) or 1) - 1)',
        ),
    ),
    *breaks(
        "engine/candidates.py",
        ("tests/integration/tables/test_what_goes_along.py", "tests/integration/test_engine.py"),
        (
            "what is emptied is capped with what goes",
            'of = plan.step if cascade.action == "delete" else changes_of(plan.step)',
            "of = plan.step",
        ),
    ),
    *breaks(
        "engine/aftercare.py",
        ("tests/integration/tables/test_aftercare.py",),
        (
            "statistics are made whatever the time",
            '    if seconds < LEAST_SECONDS:\n        return "there was no time left"\n',
            "",
        ),
        ("statistics wait for a lock", ', "lock_timeout": str(int(LOCK_SECONDS * 1000))}', "}"),
    ),
    *breaks(
        "engine/attempt.py",
        (
            "tests/integration/test_engine.py",
            "tests/integration/test_execution.py",
            "tests/integration/test_plans.py",
            "tests/integration/test_trail.py",
        ),
        ("a plan sees two times", 'isolation="repeatable read", read_only=True', "read_only=True"),
        ("a trail of nothing", "if job.audited and job.changed(counters) else None", "if job.audited else None"),
        (
            "errors are lost at the end",
            "errors=execution.errors, notes=execution.notes",
            "errors=[], notes=execution.notes",
        ),
    ),
    *breaks(
        "catalogue/partitions.py",
        ("tests/integration/tables/test_partitions.py",),
        (
            "what is below does not stand against it",
            "or reason is None else own._replace(against=reason)",
            "or True else own._replace(against=reason)",
        ),
    ),
    *breaks(
        "engine/following.py",
        ("tests/integration/tables/test_what_goes_along.py",),
        (
            "earlier statements count",
            "            each.deleted += touched.deleted - was.deleted\n",
            "            each.deleted += touched.deleted\n",
        ),
        ("a moved row is gone", "return max(0, self.deleted - self.moved)", "return max(0, self.deleted)"),
        (
            "the default that is written is taken for null",
            'table.c[column] == literal_column(f"({default})") if default is not None else table.c[column].is_(None)',
            "table.c[column].is_(None)",
        ),
        ("rows of other transactions count as emptied", "where(ours, or_(*lost))", "where(or_(*lost))"),
    ),
    *breaks(
        "catalogue/cascades.py",
        ("tests/integration/tables/test_what_goes_along.py", "tests/integration/tables/test_what_keeps_a_row.py"),
        (
            "only the last key counts for the rows to each table",
            "ways[oid] = sum(ways[parent] for parent, edge in edges if edge.child == oid) or 1",
            "ways[oid] = 1",
        ),
        (
            "rows that inherit refer as well",
            "own = can_refer(reference, child, found.facts(oid))\n                ways",
            "own: list[Any] = []\n                ways",
        ),
        (
            "a key to one partition names all",
            'return [system_column(parent, facts, "tableoid").in_(leaves)] if leaves else []',
            "return []",
        ),
        (
            "what is emptied is gone in the closure",
            'if reference.on_delete == "cascade" and oid not in opened:',
            "if oid not in opened:",
        ),
    ),
    *breaks(
        "catalogue/keeping.py",
        ("tests/integration/tables/test_what_keeps_a_row.py",),
        ("periods are compared as equal", '"&&" if reference.period and place == last else "="', '"="'),
        ("the row itself is its default's", "            not_(_same(other, parent)),\n", ""),
    ),
    *breaks(
        "catalogue/partitions.py",
        ("tests/integration/tables/test_partitions.py",),
        (
            "more rows than fit are stated",
            "(self.block_bytes - MOST_ROWS_A_BLOCK_HEADERS) // LEAST_ROW_BYTES",
            "self.block_bytes // 100",
        ),
        (
            "publications are not told",
            "to_regclass(format('%I.%I', schemaname, tablename)) in (",
            "to_regclass(format('%I.%I', schemaname, tablename)) not in (",
        ),
    ),
    *breaks(
        "catalogue/ages.py",
        ("tests/unit/test_ages.py", "tests/integration/tables/test_what_is_old.py"),
        (
            "the hour that comes twice is one",
            "    if local.replace(fold=1).utcoffset() == local.utcoffset():",
            "    if True:",
        ),
        (
            "microseconds are rounded up",
            "return microseconds * PER_SECOND[unit] // 1_000_000",
            "return -(-microseconds * PER_SECOND[unit] // 1_000_000)",
        ),
    ),
    *breaks(
        "catalogue/measures.py",
        ("tests/integration/tables/test_check_measures.py", "tests/integration/test_plans.py"),
        ("ids that count from 1 are times", " and not _at_once(middle, measure):", ":"),
    ),
    *breaks(
        "engine/attempt.py",
        ("tests/integration/test_engine.py",),
        ("steps are done again", "for step in execution.still_to_do(job.steps):", "for step in job.steps:"),
    ),
    *breaks(
        "engine/attempt.py",
        ("tests/integration/tables/test_aftercare.py",),
        (
            "notes are lost at the end",
            "errors=execution.errors, notes=execution.notes",
            "errors=execution.errors, notes=[]",
        ),
    ),
    *breaks(
        "catalogue/cascades.py",
        ("tests/integration/tables/test_what_goes_along.py",),
        ("only a part of the paths counts", "gone[oid] = (child, or_(*ways))", "gone[oid] = (child, ways[0])"),
        (
            "the oldest is told as the youngest",
            "cast(func.max(child.c[name]), Text) if name",
            "cast(func.min(child.c[name]), Text) if name",
        ),
    ),
    *breaks(
        "outbox/notices.py",
        ("tests/integration/example/test_refused_at_the_commit.py",),
        (
            "a person that is locked costs all their notice",
            "if not (is_row_error(error) or is_locked(error)):",
            "if not is_row_error(error):",
        ),
    ),
    *breaks(
        "database/connection.py",
        ("tests/integration/test_connections.py",),
        (
            "a connection stays open behind an exception",
            "                socket.shutdown(SHUT_RDWR)",
            "                pass",
        ),
    ),
    *breaks(
        "database/transaction.py",
        ("tests/integration/test_transaction.py",),
        ("policies filter in silence", '"row_security": "off"', '"row_security": "on"'),
        ("a lock is waited for as long as a statement", "str(int(min(left, LOCK_TIMEOUT_SECONDS * 1000)))", '"0"'),
    ),
    *breaks(
        "engine/execution.py",
        ("tests/integration/tables/test_held_deletions.py",),
        (
            "rows deleted by earlier attempts are forgotten",
            "                position[DELETED] = deletions.with_this_batch\n",
            "                pass\n",
        ),
    ),
    *breaks(
        "declaration/parameters.py",
        ("tests/unit/test_parameters.py",),
        (
            "a truth is a number",
            "if isinstance(value, bool) or not isinstance(value, int):",
            "if not isinstance(value, int):",
        ),
        ("ages have no ceiling", "        if value > self._ceiling:\n", "        if False:\n"),
    ),
    *breaks(
        "operations/answers.py",
        ("tests/integration/test_console.py",),
        (
            "a pause that is over by then counts",
            "of_all is not None and of_all.until is not None and of_all.until <= now",
            "False",
        ),
    ),
    *breaks(
        "engine/following.py",
        ("tests/integration/tables/test_what_goes_along.py",),
        (
            "of changes only those of the batch are held",
            "self._so_far(batch, changed_in(name)) + number <= planned",
            "number <= planned",
        ),
    ),
)
