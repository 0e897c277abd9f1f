"""All probes, in the order in which they are told."""

from collections.abc import Callable, Iterator, Mapping

from cli.doctor import database, rules, telling
from cli.doctor.facts import Facts
from cli.doctor.findings import Finding, UnreadError

Probe = Callable[[Facts], Iterator[Finding]]

PROBES: Mapping[str, Probe] = {
    "database": database.database,
    "TLS": database.tls,
    "migrations": database.migrations,
    "clocks": database.clocks,
    "supervisor": database.supervisor,
    "jobs": database.jobs,
    "functions": rules.functions,
    "rules": rules.rules,
    "time zones": rules.zones,
    "concurrency": rules.concurrency,
    "alarms": telling.alarms,
    "subscribers": telling.subscribers,
    "dead letters": telling.dead_letters,
    "mail sandbox": telling.sandbox,
    "mail sender": telling.sender,
}


def look(facts: Facts) -> dict[str, list[Finding]]:
    """What each has found. Of one that cannot be read the reason is told, after what it has found by then."""
    return {name: list(_told(probe, facts)) for name, probe in PROBES.items()}


def _told(probe: Probe, facts: Facts) -> Iterator[Finding]:
    try:
        yield from probe(facts)
    except UnreadError as reason:
        yield Finding("unknown", facts.name, str(reason), reason.remedy)
