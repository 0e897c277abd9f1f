"""Names that AWS, or the platform's own functions, would not let a job have are refused at import."""

import pkgutil
from types import ModuleType
from typing import Any

import pytest

from functions import platform
from nightshift import DeclarationError, Delete, Job, days, lambda_handler
from nightshift.declaration import Registration, function_name, registry
from nightshift.declaration.discovery import register
from nightshift.declaration.names import LONGEST_JOB_NAME, PLATFORM_FUNCTIONS
from tests.ground.functions.market._tables import Cart


def declare(name: str) -> Job:
    step = Delete(Cart, older_than=days(7), measured_by=Cart.updated_at)
    return Job(name=name, kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,))


def module(job: Job, pack: str = "market", handler: Any = None) -> ModuleType:
    made = ModuleType(f"functions.{pack}.{job.name.replace('-', '_')}", "Forget carts.")
    made.__dict__.update(job=job, handler=handler or lambda_handler(job))
    return made


def test_the_platforms_own_functions_are_all_known() -> None:
    assert {file.name for file in pkgutil.iter_modules(platform.__path__)} == set(PLATFORM_FUNCTIONS)


@pytest.mark.parametrize("name", sorted(PLATFORM_FUNCTIONS))
def test_a_job_named_like_a_function_of_the_platform_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match=f"job name '{name}' is taken by the platform's own function; name the"):
        declare(name)


@pytest.mark.parametrize("name", ["code", "dead-letters", "files"])
def test_a_job_named_like_a_part_of_its_stack_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match=f"job name '{name}' is taken by a part of every pack's stack; name the"):
        declare(name)


def test_a_name_leaves_room_for_the_deployments_own() -> None:
    longest = "a" * LONGEST_JOB_NAME
    assert len(function_name(declare(longest).name).replace("nightshift", "n" * 20)) == 64
    with pytest.raises(DeclarationError, match=r"job name 'a+' has 44 characters; at most 43 fit.*; shorten it"):
        declare(longest + "a")


def test_two_names_that_are_one_in_the_stack_stop_the_registry() -> None:
    found: dict[str, Registration] = {}
    register(module(declare("forget-7")), "market", found)
    with pytest.raises(DeclarationError, match="the jobs 'forget-7' and 'forget7' would both be Forget7 in the stack"):
        register(module(declare("forget7")), "market", found)


def test_two_such_names_in_two_packs_and_names_that_only_look_alike_are_none_of_its_business() -> None:
    found: dict[str, Registration] = {}
    register(module(declare("forget-7")), "market", found)
    register(module(declare("forget7"), "back_office"), "back_office", found)
    register(module(declare("for-get")), "market", found)
    register(module(declare("forget")), "market", found)
    assert len(found) == 4


def test_one_file_in_two_packs_stops_the_registry() -> None:
    found: dict[str, Registration] = {}
    register(module(declare("forget-carts")), "market", found)
    with pytest.raises(DeclarationError, match="both declare a job named 'forget-carts'"):
        register(module(declare("forget-carts"), "back_office"), "back_office", found)


def test_the_handler_of_another_job_stops_the_registry() -> None:
    job, other = declare("forget-carts"), declare("forget-tokens")
    with pytest.raises(
        DeclarationError, match=r"the handler runs the job 'forget-tokens': write `handler = lambda_handler\(job\)`"
    ):
        register(module(job, handler=lambda_handler(other)), "market", {})


def test_a_job_declared_twice_in_a_file_has_the_handler_of_the_last_one() -> None:
    first, last = declare("forget-carts"), declare("forget-carts")
    with pytest.raises(DeclarationError, match="the handler runs another job 'forget-carts'"):
        register(module(last, handler=lambda_handler(first)), "market", {})


def test_a_handler_of_ones_own_around_the_jobs_is_taken() -> None:
    job = declare("forget-carts")
    inner = lambda_handler(job)
    found: dict[str, Registration] = {}
    register(module(job, handler=lambda event, context: inner(event, context)), "market", found)
    assert list(found) == ["forget-carts"]


def test_no_job_there_is_has_such_a_name() -> None:
    assert all(len(name) <= LONGEST_JOB_NAME for name in registry())
