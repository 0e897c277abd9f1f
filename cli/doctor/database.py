"""Probes of what only the console can say: the connection, the schema, clocks, the supervisor, jobs that never ran."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from cli.doctor.facts import DownError, Facts
from cli.doctor.findings import Finding, UnreadError
from nightshift.declaration import function_name

EXPIRES_SOON = dt.timedelta(days=30)
THIS_MACHINE = "this machine"
SKEW_SECONDS, MOST_SKEW_SECONDS = 5.0, 60.0
"""From how many seconds on a clock is told, and from how many on an occurrence is taken for another minute's."""


def database(facts: Facts) -> Iterator[Finding]:
    """Whether the functions reach it."""
    try:
        facts.console.result()
    except DownError as down:
        remedy = "see that it is up, and that its security group lets the functions in"
        yield Finding("error", "database", str(down), f"{remedy}: aws logs tail /aws/lambda/{facts.name}-console")
        return
    version = facts.inside("connection")["version"]
    yield Finding("ok", "database", f"PostgreSQL {version} answers the console")


def tls(facts: Facts) -> Iterator[Finding]:
    """How the connection is encrypted."""
    found = facts.inside("connection")
    if found["protocol"] is None:
        if found["leaves"]:
            where = "give its host name in nightshift.database of cdk.json, and make deploy"
            yield Finding("error", "connection", "nothing on the way to the database is encrypted", where)
        else:
            yield Finding("ok", "connection", "nothing leaves the machine on the way to the database")
        return
    if not found["server"]:
        remedy = "have the proxy connect with TLS (PgBouncer: server_tls_sslmode = verify-full)"
        yield Finding("warning", "proxy", "nothing between the proxy and the database is encrypted", remedy)
    expires = dt.datetime.fromisoformat(found["expires"]) if found["expires"] else None
    if expires is not None and expires - facts.at < EXPIRES_SOON:
        remedy = "renew it (RDS: aws rds modify-db-instance --ca-certificate-identifier … --apply-immediately)"
        what = f"the server's certificate expires on {expires:%Y-%m-%d}, and then no function connects any more"
        yield Finding("warning", "certificate", what, remedy)
    elif found["server"]:
        until = f", and holds until {expires:%Y-%m-%d}" if expires else ""
        yield Finding("ok", "connection", f"{found['protocol']}, the server's certificate is verified{until}")


def migrations(facts: Facts) -> Iterator[Finding]:
    """Whether the schema is that of the deployed code."""
    found = facts.inside("migrations")
    if "refused" in found:
        yield Finding("error", "schema nightshift", found["refused"], "make deploy, with the code that it names")
    elif found["pending"]:
        lacks = f"the database is behind the deployed code: it lacks {', '.join(found['pending'])}"
        yield Finding("error", "schema nightshift", lacks, migrate(facts.name))
    elif found["ahead"]:
        what = f"the database is ahead of the deployed code, as after a rollback: {', '.join(found['ahead'])}"
        yield Finding("note", "schema nightshift", what, "make deploy, once the newer code is mended")
    else:
        yield Finding("ok", "schema nightshift", f"up to date: {found['applied']} migrations")


def clocks(facts: Facts) -> Iterator[Finding]:
    """How far this machine, AWS, the functions and the database are apart."""
    apart = [each for each in _skews(facts) if abs(each[1]) >= SKEW_SECONDS]
    for name, seconds, remedy in apart:
        much = abs(seconds) >= MOST_SKEW_SECONDS and name != THIS_MACHINE
        what = f"its clock is {abs(seconds):,.0f} s {'ahead' if seconds > 0 else 'behind'}"
        yield Finding("error" if much else "warning", name, what, remedy)
    facts.inside("clocks")  # whatever could not be read is told as unknown
    facts.clock.result()
    if not apart:
        yield Finding("ok", "clocks", f"this machine, AWS, functions and database agree within {SKEW_SECONDS:.0f} s")


Span = tuple[float, float]
"""At least and at most so many seconds ahead."""


def _skews(facts: Facts) -> Iterator[tuple[str, float, str]]:
    """Each clock, how many seconds it is ahead at least (negative: behind), and what to do."""
    aws = _of_aws(facts)
    if aws is not None:
        yield THIS_MACHINE, _least((-aws[1], -aws[0])), "set it by the network: sudo timedatectl set-ntp true"
    try:
        found, asked = facts.inside("clocks"), facts.console.result()
    except UnreadError:
        return
    before, database, after = (dt.datetime.fromisoformat(found[key]) for key in ("before", "database", "after"))
    low, high = aws or (0.0, 0.0)
    function = (before - asked.after).total_seconds() - high, (after - asked.before).total_seconds() - low
    yield "functions", _least(function), "tell AWS support: it is the clock of Lambda's machines"
    remedy = "set the clock of its machine by the network (chrony); on RDS tell AWS support"
    yield "database", _least(((database - after).total_seconds(), (database - before).total_seconds())), remedy


def _of_aws(facts: Facts) -> Span | None:
    """How much AWS is ahead of this machine. What it shows is cut to the second."""
    try:
        read = facts.clock.result()
    except UnreadError:
        return None
    return (read.shown - read.after).total_seconds(), (read.shown - read.before).total_seconds() + 1


def _least(span: Span) -> float:
    low, high = span
    return low if low > 0 else high if high < 0 else 0.0


def supervisor(facts: Facts) -> Iterator[Finding]:
    """Whether it looks over the ledger."""
    found, name = facts.inside("supervisor"), function_name("supervisor", facts.name)
    last = found["last_round"]
    if not found["silent"]:
        yield Finding("ok", name, f"it last looked over the ledger at {last}")
        return
    since = f"since {last}" if last else "yet"
    remedy = f"aws events enable-rule --name {name}, and read its log: aws logs tail /aws/lambda/{name}"
    severity = "warning" if facts.switched_off else "error"
    yield Finding(severity, name, f"it has not looked over the ledger {since}", remedy)


def jobs(facts: Facts) -> Iterator[Finding]:
    """Jobs that never ran, though they were due."""
    never, paused = facts.inside("never_begun")["jobs"], facts.inside("pauses")["jobs"]
    late = [each for each in never if each["due"]]
    if facts.switched_off and late:
        what = f"every rule is disabled, and {len(late)} jobs have never run, though they were due"
        yield Finding("warning", facts.name, what, 'set "rules": "on" in cdk.json, and make deploy')
        never = [each for each in never if not each["due"]]
    found = [finding for each in never if (finding := _never_ran(facts, each, paused.get(each["job"])))]
    yield from found
    if not found and not (facts.switched_off and late):
        waiting = f"; not due yet: {len(never)}" if never else ""
        yield Finding("ok", "jobs", f"every job that was due has run{waiting}")


def _never_ran(facts: Facts, each: Mapping[str, Any], pause: Mapping[str, Any] | None) -> Finding | None:
    """What is wrong about a job that never ran; None if its time has not come."""
    job = each["job"]
    if each["registered_at"] is None:
        return Finding("error", job, "the ledger does not know it", migrate(facts.name))
    if pause and (each["due"] or each["ended"]):
        remedy = f"nightshift resume {'--all' if pause.get('all') else job} --by NAME --reason TEXT"
        return Finding("note", job, f"it has never run, and is paused by {pause['by']}: {pause['reason']}", remedy)
    if each["due"]:
        remedy = f"nightshift run {job}, and docs/operations.md#a-job-did-not-run"
        return Finding("error", job, f"it was due at {each['due']}, and has never run", remedy)
    if each["ended"]:
        ended = ", ".join(f"{state} {number:,}" for state, number in each["ended"].items())
        return Finding("warning", job, f"it has never run: its occurrences are {ended}", f"nightshift runs {job}")
    return None


def paused_jobs(facts: Facts) -> Mapping[str, Mapping[str, str]]:
    """The pauses in force by job; none where that could not be read."""
    try:
        found: Mapping[str, Mapping[str, str]] = facts.inside("pauses")["jobs"]
    except UnreadError:
        return {}
    return found


def migrate(deployment: str) -> str:
    """The command that migrates and registers again what the deployment has."""
    return f"aws lambda invoke --function-name {function_name('migrate', deployment)} /dev/stdout"
