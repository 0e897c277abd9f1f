"""A declaration that cannot work is refused when it is made, or when the registry reads it, with the remedy."""

import datetime as dt
import importlib
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import table

import functions
from cli import known_jobs
from cli.refusals import RefusedError
from nightshift import Count, DeclarationError, Delete, Function, Job, Parameter, Policy, Run, Update, days, years
from nightshift.declaration import Deployment, Registration, packs, registry, stack_name
from nightshift.declaration.discovery import register
from tests.ground.functions.market._tables import Cart, CartItem

RETENTION = Parameter("retention_days", 7, "days")


def delete(**changes: Any) -> Delete:
    declared: dict[str, Any] = {
        "target": Cart,
        "older_than": RETENTION,
        "measured_by": Cart.updated_at,
    }
    return Delete(**(declared | changes))


def declare(**changes: Any) -> Job:
    declared: dict[str, Any] = {
        "name": "forget-carts",
        "kind": "retention",
        "schedule": "cron(0 2 * * ? *)",
        "steps": (delete(),),
    }
    return Job(**(declared | changes))


def module(job: Any, name: str = "forget_carts", doc: str = "Forget carts.") -> ModuleType:
    made = ModuleType(f"functions.market.{name}", doc)
    made.__dict__.update(job=job, handler=lambda event, context: None)
    return made


@pytest.mark.parametrize("name", ["Forget-Logins", "forget_carts", "", "forget--logins", "-x", "forget logins"])
def test_a_name_that_is_not_kebab_case_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match="must be kebab-case"):
        declare(name=name)


def test_a_job_without_steps_is_refused() -> None:
    with pytest.raises(DeclarationError, match="has no steps"):
        declare(steps=())


def test_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(DeclarationError, match="two steps named 'delete-carts'; name them apart"):
        declare(steps=(delete(), delete()))


def test_two_parameters_of_one_name_are_refused() -> None:
    with pytest.raises(DeclarationError, match="two parameters named 'retention_days'"):
        declare(parameters=(Parameter("retention_days", 9, "days"),))


def test_one_parameter_may_serve_several_steps() -> None:
    job = declare(steps=(delete(), delete(name="again")))
    assert [parameter.name for parameter in job.all_parameters] == [
        "retention_days",
        "max_rows",
        "max_share",
        "unindexed_rows",
    ]


def test_a_job_may_give_a_cap_another_default() -> None:
    job = declare(parameters=(Parameter("max_share", 80, "percent", maximum=100),))
    assert job.resolve({}) == {"max_share": 80, "retention_days": 7, "unindexed_rows": 100_000}


def test_more_than_a_quarter_of_an_hour_is_refused() -> None:
    with pytest.raises(DeclarationError, match="AWS Lambda's own limit"):
        declare(timeout=dt.timedelta(minutes=16))


def test_a_late_limit_that_nothing_meets_is_refused() -> None:
    with pytest.raises(DeclarationError, match="a late limit must be longer than zero"):
        declare(policy=Policy(late_limit=dt.timedelta(0)))


def test_a_step_that_would_touch_every_row_is_refused() -> None:
    with pytest.raises(DeclarationError, match="would touch every row of carts"):
        delete(older_than=None)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"where": True}, "where must be a condition"),
        ({"where": table("carts")}, "where must be a condition"),
        ({"where": " "}, "where must be a condition in SQL"),
        ({"where": "a = :a and b = :b", "values": {"a": 1}}, "names :b, and values= has nothing of that name"),
        ({"where": "a = 'it''s :x'"}, r"if the colon is SQL's own, write \\:"),
        ({"where": "a = 1", "values": {"a": 1}}, "does not name :a"),
        ({"where": "a < :a::date", "values": {"a": "2026-01-01"}}, r"write cast\(:a as …\)"),
        ({"where": "a = 1", "counting": {"b": True}}, "counting b must be a condition"),
        ({"where": Cart.note == "x"}, "where reads cart"),
        ({"older_than": days(1), "measured_by": Cart.updated_at}, "measured_by is of cart"),
        ({"older_than": days(1), "measured_by": "at", "measured_in": "days"}, "measured_in must be 'seconds', 'mill"),
        ({"older_than": days(1), "measured_by": 5}, "measured_by must be a column, or the name of one"),
        ({"older_than": days(1), "measured_by": " "}, "measured_by must be a column, or the name of one"),
    ],
)
@pytest.mark.parametrize("step", [Delete, partial(Update, set={"b": 1}), partial(Count, counter="n")])
def test_what_is_no_condition_on_a_table_by_name_is_refused(step: Any, given: dict[str, Any], why: str) -> None:
    with pytest.raises(DeclarationError, match=why):
        step("carts", name="forget", **{"counter": "n", **given} if step is not Delete else given)


@pytest.mark.parametrize("given", [{}, {1: 2}, None, "b = 1"])
def test_new_values_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(DeclarationError, match="new values by column"):
        Update("carts", where="a = 1", set=given, counter="n")


def test_an_age_without_a_column_to_measure_it_is_refused() -> None:
    with pytest.raises(DeclarationError, match="say by which column, with measured_by="):
        Delete(CartItem, older_than=days(1))


@pytest.mark.parametrize(
    "schedule", ["cron(nonsense)", "rate(1 hour)", "cron(0 0 31 2 ? *)", "cron(0 2 ? * 1 *)", "0 2 * * *"]
)
def test_a_schedule_that_cannot_work_stops_the_registry(schedule: str) -> None:
    with pytest.raises(DeclarationError, match="job forget-carts: schedule"):
        register(module(declare(schedule=schedule)), "market", {})


def test_two_jobs_of_one_name_stop_the_registry() -> None:
    found: dict[str, Registration] = {}
    register(module(declare()), "market", found)
    with pytest.raises(DeclarationError, match="both declare a job named 'forget-carts'"):
        register(module(declare()), "back_office", found)


def test_a_file_named_otherwise_than_its_job_stops_the_registry() -> None:
    with pytest.raises(DeclarationError, match="give file and job the same name"):
        register(module(declare(), name="carts"), "market", {})


def test_a_file_without_a_job_stops_the_registry() -> None:
    with pytest.raises(DeclarationError, match="declares no job"):
        register(module(None), "market", {})


def test_a_file_without_a_handler_stops_the_registry() -> None:
    made = module(declare())
    del made.__dict__["handler"]
    with pytest.raises(DeclarationError, match=r"write `handler = lambda_handler\(job\)`"):
        register(made, "market", {})


def test_a_job_without_its_rule_in_words_stops_the_registry() -> None:
    with pytest.raises(DeclarationError, match="say the job's rule there in plain words"):
        register(module(declare(), doc=" "), "market", {})


JOB = '''"""Do nothing, every night."""

from nightshift import Function, Job, lambda_handler

job = Job(
    name="{name}",
    kind="check",
    schedule="cron(0 2 * * ? *)",
    steps=(Function(name="nothing", apply=lambda execution: None, plan=lambda session, run: [], counters=("done",)),),
)
handler = lambda_handler(job)
'''


@pytest.fixture
def more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Writes files below functions/, empty or with a job of their name, and lets the registry look anew."""

    def write(*files: str) -> None:
        for file in files:
            path = tmp_path / "functions" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("" if path.name.startswith("_") else JOB.format(name=path.stem.replace("_", "-")))
        importlib.invalidate_caches()
        packs.cache_clear()
        registry.cache_clear()

    (tmp_path / "functions").mkdir()
    monkeypatch.setattr(functions, "__path__", [*functions.__path__, str(tmp_path / "functions")])
    yield write
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    packs.cache_clear()
    registry.cache_clear()


def test_a_folder_is_a_pack_and_is_found(more: Callable[..., None]) -> None:
    before = packs()
    more("night_shift2/__init__.py", "night_shift2/count_stars.py")

    assert packs() == tuple(sorted([*before, "night_shift2"]))
    assert "platform" not in packs()
    assert registry()["count-stars"].pack == "night_shift2"
    assert list(dict.fromkeys(found.pack for found in registry().values())) == list(packs())
    assert Deployment().packs == packs()


def test_folders_that_say_so_and_what_git_leaves_behind_are_no_packs(more: Callable[..., None], tmp_path: Path) -> None:
    before = packs()
    more("_drafts/__init__.py", "_drafts/wild_idea.py", "_notes.py", ".cache/__init__.py")
    (tmp_path / "functions/billing/__pycache__").mkdir(parents=True)
    (tmp_path / "functions/billing/__pycache__/invoices.cpython-311.pyc").touch()
    (tmp_path / "functions/README.md").touch()

    assert packs() == before
    assert not [name for name in registry() if name in ("wild-idea", "invoices")]


def test_a_folder_in_a_pack_holds_no_jobs(more: Callable[..., None]) -> None:
    more("billing/__init__.py", "billing/send_invoices.py", "billing/taxes/__init__.py", "billing/taxes/rates.py")

    assert [name for name, found in registry().items() if found.pack == "billing"] == ["send-invoices"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_module", "functions.billing.rates cannot be imported: ModuleNotFoundError: No module named"),
        ("if", "functions.billing.rates cannot be imported: SyntaxError"),
        ("\n\nDelete", "rates cannot be imported: NameError: name 'Delete' is not defined (rates.py, line 3)"),
        (JOB.format(name="rates").replace("0 2 *", "0 99 *"), "job rates: schedule"),
        (JOB.format(name="rates").replace('"check"', '"chore"'), "functions.billing.rates: "),
        (JOB.format(name="fees"), "give file and job the same name"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_and_keeps_nobody_from_the_others(
    more: Callable[..., None], tmp_path: Path, code: str, told: str
) -> None:
    more("billing/__init__.py", "billing/invoices.py", "billing/rates.py")
    (tmp_path / "functions/billing/rates.py").write_text(code)

    with pytest.raises(DeclarationError, match=re.escape(told)):
        registry()
    usable, broken = known_jobs.apart(None)
    assert "invoices" in [each.job.name for each in usable]
    assert list(broken) == ["rates"]
    assert told in broken["rates"]
    assert [each.job.name for each in known_jobs.apart("invoices")[0]] == ["invoices"]
    with pytest.raises(RefusedError, match=re.escape(told)):
        known_jobs.apart("rates")


@pytest.mark.parametrize(
    ("files", "remedy"),
    [
        (["billing/__init__.py"], "functions/billing has no job: declare one in functions/billing/<job_name>.py"),
        (["billing/__init__.py", "billing/_sums.py"], "functions/billing has no job"),
        (
            ["billing/__init__.py", "billing/taxes/__init__.py", "billing/taxes/rates.py"],
            "functions/billing has no job",
        ),
        (["billing/invoices.py"], "functions/billing has no __init__.py.*add an empty one"),
        (["invoices.py"], r"functions/invoices.py stands in no pack: move it to functions/<pack>/invoices.py"),
        (["a_1/__init__.py", "a1/__init__.py"], "functions/a1 and functions/a_1 would both be the stack Nightshift-A1"),
        (["ab/__init__.py", "a_b/__init__.py"], "functions/a_b and functions/ab would both be the stack Nightshift-Ab"),
        (["plat_form/__init__.py"], "functions/platform and functions/plat_form would both be the stack"),
        *(
            ([f"{name}/__init__.py"], f"functions/{name} cannot be a pack's name.*like my_jobs")
            for name in ("Billing", "my-jobs", "my__jobs", "my_", "2nd", "my.jobs", "früh")
        ),
    ],
)
def test_a_folder_that_cannot_be_a_pack_stops_the_registry(
    files: list[str], remedy: str, more: Callable[..., None]
) -> None:
    more(*files)

    with pytest.raises(DeclarationError, match=remedy) as refused:
        registry()
    assert "\n" not in str(refused.value)


def test_a_stack_is_named_after_its_pack_as_cloudformation_takes_it() -> None:
    assert stack_name("market") == "Nightshift-Market"
    assert stack_name("my_jobs_2") == "Nightshift-MyJobs2"


def test_a_folder_inside_a_pack_is_never_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "billing").mkdir()
    (tmp_path / "billing" / "__init__.py").touch()
    market = importlib.import_module("functions.market")
    monkeypatch.setattr(market, "__path__", [*market.__path__, str(tmp_path)])
    assert registry.__wrapped__().keys() == registry().keys()


def test_every_registered_job_is_in_a_known_pack_and_named_like_its_file() -> None:
    for name, registration in registry().items():
        assert registration.pack in packs()
        assert registration.module.endswith(f".{registration.pack}.{name.replace('-', '_')}")


def run(**changes: Any) -> Run:
    at = dt.datetime(2028, 2, 29, 3, tzinfo=dt.UTC)
    return Run(id=uuid.UUID(int=1), job="forget-carts", scheduled_for=at, **({"parameters": {}} | changes))


def test_a_year_before_the_leap_day_is_the_last_of_february() -> None:
    assert run().ago(years(1)) == dt.datetime(2027, 2, 28, 3, tzinfo=dt.UTC)


def test_a_parameter_as_age_is_the_runs_own_value() -> None:
    assert run(parameters={"retention_days": 29}).ago(RETENTION) == dt.datetime(2028, 1, 31, 3, tzinfo=dt.UTC)


def test_steps_that_share_an_age_have_one_cut_off_in_the_result() -> None:
    frozen = run(parameters={"retention_days": 28})
    assert declare().cutoff(frozen) == "2028-02-01T03:00:00Z"
    assert declare(steps=(delete(), delete(name="more", older_than=days(1)))).cutoff(frozen) is None


def test_only_what_cannot_be_undone_is_counted_and_capped_first() -> None:
    look = Count(Cart, older_than=RETENTION, measured_by=Cart.updated_at, counter="seen")
    write = Update(
        Cart,
        older_than=RETENTION,
        measured_by=Cart.updated_at,
        counter="closed",
        set={Cart.note: None},
    )
    own = Function(name="own", apply=lambda execution: None, plan=lambda session, run: [], counters=("own",))
    assert not declare(steps=(look, write, own)).destructive
    assert declare().destructive


def test_every_counter_is_declared_with_those_of_every_run_last() -> None:
    assert declare().counters == ("deleted", "batches", "quarantined")


def test_the_policies_follow_from_the_kind() -> None:
    assert declare().effective_policy == Policy("skip", "latest", None)
    assert declare(kind="report").effective_policy == Policy("wait", "every", None)
    assert declare(kind="notification").effective_policy == Policy("skip", "latest", dt.timedelta(hours=2))
    check = declare(kind="check", schedule="cron(0/15 * * * ? *)").effective_policy
    assert check == Policy("skip", "none", dt.timedelta(minutes=15))


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"zone is no time zone: 'Europe/Nowhere'"):
        delete(zone="Europe/Nowhere")


def test_the_usual_zone_is_not_looked_for_among_all_zones_at_every_cold_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them() -> set[str]:
        raise AssertionError("the list of all zones was read")

    monkeypatch.setattr("nightshift.steps.rows.zone_names", all_of_them)
    delete()
    with pytest.raises(AssertionError):
        delete(zone="Europe/Berlin")
