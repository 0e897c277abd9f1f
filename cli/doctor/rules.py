"""Probes of what starts the jobs: rules, time zones, functions, and how many of them may run at the same time."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version

from cli.doctor.account import Rule
from cli.doctor.database import paused_jobs
from cli.doctor.facts import Facts
from cli.doctor.findings import Finding
from nightshift.declaration import (
    DeployedJob,
    ScheduleError,
    function_name,
    iso,
    not_covered,
    packs,
    rule_expression,
)
from nightshift.declaration.names import EVERY_MINUTE, PLATFORM_FUNCTIONS, PLATFORM_RULES

DEPLOY = "make deploy"


def rules(facts: Facts) -> Iterator[Finding]:
    """Whether each job has its rule, as this folder declares it with the settings that were deployed."""
    deployment, deployed = facts.deployment.result(), facts.rules.result()
    jobs, others = deployment.understood()
    left_out = [pack for pack in packs() if pack not in deployment.packs]
    if left_out:
        yield Finding("note", ", ".join(left_out), "these packs of this folder are not deployed", DEPLOY)
    for name, wrong in others.items():
        remedy = f"mend nightshift.jobs.{name} in cdk.json, and {DEPLOY}"
        yield Finding("error", name, f"its settings make no sense: {wrong.reason}", remedy)
    found = [*_every_rule(facts, jobs, deployed), *_disabled(facts, jobs, deployed)]
    yield from found
    known = {function_name(name, facts.name) for name in (*jobs, *others, *PLATFORM_RULES)}
    for strange in sorted(deployed.keys() - known):
        remove = f"aws events disable-rule --name {strange}"
        what = f"no job of this folder declares this rule ({deployed[strange].expression or 'no schedule'})"
        remedy = f"update this folder if its code is older than what is deployed; else {DEPLOY}, or {remove}"
        yield Finding("warning", strange, what, remedy)
    if not found and known >= deployed.keys() and not others:
        yield Finding("ok", "rules", f"{len(deployed)} rules are as declared")


def _every_rule(facts: Facts, jobs: Mapping[str, DeployedJob], deployed: Mapping[str, Rule]) -> Iterator[Finding]:
    """Rules that are missing, and those that fire at other times. Those of a time zone have a probe of their own."""
    wanted = {name: rule_expression(job.schedule) for name, job in jobs.items() if job.schedule.timezone is None}
    wanted |= dict.fromkeys(PLATFORM_RULES, EVERY_MINUTE)
    for name in (*jobs, *PLATFORM_RULES):
        rule = deployed.get(function_name(name, facts.name))
        if rule is None:
            yield Finding("error", name, "it has no rule, so nothing starts it", DEPLOY)
        elif name in wanted and rule.expression != wanted[name]:
            what = f"its rule fires by {rule.expression or 'no schedule'}, and it is declared for {wanted[name]}"
            yield Finding("error", name, what, DEPLOY)


def _disabled(facts: Facts, jobs: Mapping[str, DeployedJob], deployed: Mapping[str, Rule]) -> Iterator[Finding]:
    """Disabled rules that neither the settings nor a pause explain."""
    if facts.switched_off:
        what = "every rule is disabled: nothing runs unless somebody runs it"
        yield Finding("warning", facts.name, what, f'set "rules": "on" in cdk.json, and {DEPLOY}')
        return
    paused = paused_jobs(facts)
    for name in (*jobs, *PLATFORM_RULES):
        rule = deployed.get(function_name(name, facts.name))
        enabled = name not in jobs or jobs[name].enabled
        if rule is None or rule.enabled == enabled:
            continue
        if rule.enabled:
            what = "the settings disable it, and its rule fires: its function refuses to run"
            yield Finding("warning", name, what, f"{DEPLOY}, or aws events disable-rule --name {rule.name}")
        elif name in paused:
            what = f"its rule is disabled, and it is paused by {paused[name]['by']}: {paused[name]['reason']}"
            yield Finding("note", name, what, f"aws events enable-rule --name {rule.name}, when the pause ends")
        else:
            what = "its rule is disabled, and no setting and no pause says why"
            yield Finding("error", name, what, f"aws events enable-rule --name {rule.name}")


def zones(facts: Facts) -> Iterator[Finding]:
    """Whether the rules of jobs in a time zone fire at all that the schedule means, by the zones as they are now."""
    jobs, deployed = facts.deployment.result().understood()[0], facts.rules.result()
    in_zones = {name: job.schedule for name, job in jobs.items() if job.schedule.timezone is not None}
    told = 0
    for name, schedule in in_zones.items():
        rule = deployed.get(function_name(name, facts.name))
        if rule is None or not jobs[name].enabled:
            continue  # told as such by the probe of rules
        try:
            missed = not_covered(schedule, rule.expression, after=facts.at)
        except ScheduleError as error:
            told += 1
            yield Finding("error", name, f"its rule fires by {rule.expression or 'no schedule'}: {error}", DEPLOY)
            continue
        if missed is not None:
            told += 1
            what = f"its rule {rule.expression} does not fire at {iso(missed)}, when {schedule} is due"
            yield Finding("error", name, what, DEPLOY)
        elif rule.expression != rule_expression(schedule):
            told += 1
            what = f"its rule {rule.expression} covers {schedule}, and a deployment would make another one"
            yield Finding("note", name, what, DEPLOY)
    if not told:
        number = len(in_zones)
        by = f"{number} schedules in a time zone are covered by their rules (tzdata {version('tzdata')})"
        yield Finding("ok", "time zones", by if number else "every schedule is in UTC")


def functions(facts: Facts) -> Iterator[Finding]:
    """Whether every job, and the platform, has its function."""
    jobs, others = facts.deployment.result().understood()
    names = (*jobs, *others, *PLATFORM_FUNCTIONS)
    absent = [name for name in names if function_name(name, facts.name) not in facts.functions.result()]
    for name in absent:
        yield Finding("error", name, "it has no function", DEPLOY)
    if not absent:
        yield Finding("ok", "functions", f"{len(names)} functions are there")


def concurrency(facts: Facts) -> Iterator[Finding]:
    """Whether all of the deployment's functions could run at the same time."""
    quota, number = facts.concurrency.result(), len(facts.functions.result())
    told = f"{quota.unreserved:,} of the account's {quota.all:,} executions at once are free for {number} functions"
    if quota.unreserved >= number:
        yield Finding("ok", "concurrency", told)
        return
    raising = "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384"
    what = f"only {told}: in a busy minute AWS refuses some of them"
    yield Finding("warning", "concurrency", what, f"{raising} --desired-value {max(1000, quota.all + number)}")
