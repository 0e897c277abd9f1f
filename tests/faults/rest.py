"""What must hold when a simulated night has come to rest."""

import datetime as dt
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import text

from nightshift.declaration import Run
from nightshift.ledger import OUTCOMES
from nightshift.ledger.occurrences import PATIENCE
from tests.faults.simulation import PURGED_AFTER, World, batches_of

RUNS = """
select r.*, (select count(*) from nightshift.attempts a where a.run_id = r.id) as attempts_made,
       (select count(*) from nightshift.attempts a where a.run_id = r.id and a.ended_at is null) as attempts_open,
       (select count(*) from nightshift.notifications n where n.dedupe_key = r.id || '|ops') as notices,
       array(select number from simulated.effects e where e.run_id = r.id order by number) as effects,
       exists (select from simulated.effects e where e.run_id = r.id and e.now <> r.scheduled_for) as other_now
  from nightshift.runs r where r.scheduled_for < :end order by job, scheduled_for, created_at
"""


class Rest:
    """The ledger and the application's data after a night."""

    def __init__(self, world: World) -> None:
        self._world = world
        with world.database.connect() as connection:
            self.runs: list[Any] = list(connection.execute(text(RUNS), {"end": world.end}))
            self._noted = list(connection.execute(text("select what, run_id, at from simulated.violations")))
            self._gone = list(connection.execute(text("select at, run_id from simulated.gone")))
            self._aged = connection.scalars(text("select at from aged")).all()

    def violations(self) -> list[str]:
        """In words. Empty: every promise was kept."""
        return [
            *self._world.violations,
            *(f"{row.what}: run {row.run_id} at {row.at}" for row in self._noted),
            *self._occurrences(),
            *(f"{words}: {run.job} {run.scheduled_for:%H:%M} {run.trigger} {run.state} ({run.reason}) {run.id}"
              for run in self.runs for words in (*self._of_a_run(run), *self._of_its_policy(run), *self._told(run))),
            *self._ages(),
        ]  # fmt: skip

    def _occurrences(self) -> Iterator[str]:
        """Each that was due has exactly one run, and has it in time. A schedule counts from the first round."""
        found: dict[tuple[str, dt.datetime], list[Any]] = defaultdict(list)
        for run in self.runs:
            if run.mode == "apply" and not run.forced and run.scheduled_for.second == 0:
                found[run.job, run.scheduled_for].append(run)
        for name, job in self._world.jobs.items():
            for due in job.timetable.between(self._world.rounds[0], self._world.end):
                runs = found[name, due]
                if len(runs) != 1:
                    yield f"an occurrence has {len(runs)} runs: {name} {due}"
                elif runs[0].created_at > (first := self._looked_for(due)):
                    yield f"an occurrence was found at {runs[0].created_at}, and not by {first}: {name} {due}"

    def _looked_for(self, due: dt.datetime) -> dt.datetime:
        """The first round of the supervisor that must find it."""
        return self._world.rounds[bisect_right(self._world.rounds, due + PATIENCE)]

    def _of_a_run(self, run: Any) -> Iterator[str]:
        if run.state not in OUTCOMES or run.finished_at is None or run.lease_until is not None:
            yield "no outcome"
        if run.state not in ("succeeded", "planned") and not run.reason:
            yield "no reason"
        if run.attempts_open or run.attempts_made != run.epoch:
            yield f"{run.attempts_made} attempts of {run.epoch}, {run.attempts_open} without an end"
        if run.attempts > run.max_attempts:
            yield "more attempts than it may have"
        if run.job == "purge":
            return
        whole = list(range(batches_of(Run(run.id, run.job, run.scheduled_for, run.trigger))))
        if run.effects != whole[: len(run.effects)] or run.other_now:
            yield f"its effects are {run.effects} of {whole}"
        if run.state == "succeeded" and (run.effects != whole or run.counters["done"] != len(whole)):
            yield f"it has not done its work: {run.effects} of {whole}, and says {run.counters}"
        if run.state in ("skipped", "missed", "paused", "planned") and run.effects:
            yield "it was left out, and has worked"
        if run.notices != bool(run.effects):
            yield f"{run.notices} notices"

    def _of_its_policy(self, run: Any) -> Iterator[str]:
        policy = self._world.jobs[run.job].effective_policy
        unasked = run.trigger in ("schedule", "catch_up")
        late = run.created_at - run.scheduled_for
        left_out = ("missed", "paused")
        if unasked and policy.late_limit is not None and late > policy.late_limit and run.state not in left_out:
            yield f"begun {late} late"
        if run.trigger == "catch_up" and policy.missed == "none" and run.state not in left_out:
            yield "caught up by a job that does not"
        if policy.overlap == "wait" and run.state == "skipped":
            yield "skipped by a job that waits"
        if (
            run.state == "missed"
            and policy.missed == "every"
            and (policy.late_limit is None or late <= policy.late_limit)
        ):
            yield "missed by a job that catches up every one"
        if run.state in ("skipped", "missed", "paused") and not unasked and run.trigger != "manual":
            yield "left out, and somebody has asked for it"

    def _told(self, run: Any) -> Iterator[str]:
        """Of every final failure somebody hears: whoever waits for the answer, or whoever reads the queue."""
        if run.state != "failed":
            return
        if run.reported_at is None:
            yield "nobody has reported it"
        heard = (str(told) for told in self._world.told)
        if not any(str(run.id) in words or self._is_of(run, words) for words in heard):
            yield "nobody has heard of it"

    @staticmethod
    def _is_of(run: Any, words: str) -> bool:
        """Whether Lambda's record is of the event of this occurrence: one that was killed names no run."""
        return f"'{run.job}'" in words and f"{run.scheduled_for:%Y-%m-%dT%H:%M}" in words

    def _ages(self) -> Iterator[str]:
        """Nothing younger than its run's cut-off is gone; nothing older than that of a run that succeeded is there."""
        purges = {run.id: run.scheduled_for - PURGED_AFTER for run in self.runs if run.job == "purge"}
        for at, run_id in self._gone:
            if run_id in purges and at >= purges[run_id]:
                yield f"a row of {at} is gone, and the cut-off is {purges[run_id]}: run {run_id}"
        done = [
            run.scheduled_for - PURGED_AFTER for run in self.runs if run.job == "purge" and run.state == "succeeded"
        ]
        yield from (f"a row of {at} is still there" for at in self._aged if done and at < max(done))
