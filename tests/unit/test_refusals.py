"""No surprise in a declaration: a value that cannot be meant is one line at import, with the field and the remedy."""

import datetime as dt
import uuid
from functools import partial
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from sqlalchemy import exists, func, literal_column, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from nightshift import (
    Count,
    DeclarationError,
    Delete,
    Function,
    Job,
    Parameter,
    Policy,
    Run,
    Update,
    days,
    hours,
    minutes,
    years,
)
from nightshift.outbox import LocalMoment, Via
from nightshift.steps import Message, Notify, Recompute, RollUp
from tests.ground.functions.market._tables import Cart, CartItem, Customer
from tests.ground.world import shop_alone

RETENTION = Parameter("retention_days", 7, "days")
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


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


def function(**changes: Any) -> Function:
    declared: dict[str, Any] = {
        "name": "own",
        "apply": lambda execution: None,
        "plan": lambda session, run: [],
        "counters": ("own",),
    }
    return Function(**(declared | changes))


def roll_up(**changes: Any) -> RollUp:
    declared: dict[str, Any] = {"scope": "day", "period": lambda run: None, "figures": lambda *_: None}
    return RollUp(**(declared | changes))


class Base(DeclarativeBase):
    pass


class Bare:
    """It has a name, and nothing else that a step has."""

    name = "bare"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "retension"}, "kind must be one of retention, .*; got 'retension'; did you mean 'retention'"),
        ({"kind": None}, "kind must be one of retention, recalculation, .*; got None"),
        ({"schedule": None}, "schedule must be a text, like 'cron\\(0 2 \\* \\* \\? \\*\\)'; got None"),
        ({"steps": delete()}, "steps must be a tuple of steps, like \\(Delete\\(…\\),\\).*; got Delete\\("),
        ({"steps": [delete()]}, "steps must be a tuple of steps"),
        ({"steps": ()}, "has no steps"),
        ({"steps": (Delete,)}, "steps must hold steps; got the class Delete: write Delete\\(…\\)"),
        ({"steps": ((delete(),),)}, "steps must hold steps; got a tuple: write \\* before it"),
        ({"steps": ("delete",)}, "steps must hold steps; got 'delete'"),
        ({"steps": (Bare(),)}, "steps must hold steps; Bare has no counters"),
        ({"parameters": [RETENTION]}, "parameters must be a tuple of parameters, like \\(Parameter\\(…\\),\\)"),
        ({"parameters": RETENTION}, "parameters must be a tuple of parameters"),
        ({"parameters": ("retention_days",)}, "parameters must be a tuple of parameters"),
        ({"policy": "skip"}, "policy must be a Policy, like Policy\\(overlap='wait'\\); got 'skip'"),
        ({"needs": "files"}, "needs must be a set, like frozenset\\(\\{'files'\\}\\); got 'files'"),
        ({"needs": {"file"}}, "needs must be one of files, .*; got 'file'; did you mean 'files'"),
        ({"critical": "yes"}, "critical must be True or False; got 'yes'"),
        ({"audited": None}, "audited must be True or False; got None"),
        ({"timeout": 300}, "timeout must be a timedelta, like timedelta\\(minutes=5\\); got 300"),
        ({"timeout": dt.timedelta(0)}, "the timeout must be .* AWS Lambda's own limit"),
        ({"timeout": dt.timedelta(milliseconds=500)}, "the timeout must be .* AWS Lambda's own limit"),
        ({"timeout": dt.timedelta(seconds=90.5)}, "whole seconds"),
        ({"memory_mb": 64}, "memory_mb must be a whole number from 128 to 10240; got 64"),
        ({"memory_mb": "512"}, "memory_mb must be a whole number from 128 to 10240; got '512'"),
        ({"about": None}, "about must be a text; got None"),
    ],
)
def test_a_job_with_a_field_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=f"^job forget-carts[: ].*{says}") as refused:
        declare(**changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"overlap": "queue"}, "overlap must be one of skip, wait; got 'queue'"),
        ({"overlap": "skp"}, "did you mean 'skip'"),
        ({"missed": "all"}, "missed must be one of latest, every, none; got 'all'"),
        ({"missed": None}, "missed must be one of latest, every, none; got None"),
        ({"late_limit": 7200}, "late_limit must be a timedelta, like timedelta\\(hours=2\\), or None; got 7200"),
        ({"late_limit": dt.timedelta(hours=-1)}, "a late limit must be longer than zero"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        Policy(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"unit": "day"}, "unit must be one of minutes, hours, .*; got 'day'; did you mean 'days'"),
        ({"unit": None}, "unit must be one of minutes, hours, "),
        ({"name": "retention-days"}, "must be snake_case, like retention_days"),
        ({"name": ""}, "must be snake_case, like retention_days"),
        ({"name": None}, "must be snake_case, like retention_days"),
        ({"minimum": -1}, "minimum must be a whole number, 0 or more; got -1"),
        ({"minimum": None}, "minimum must be a whole number, 0 or more; got None"),
        ({"minimum": True}, "minimum must be a whole number, 0 or more; got True"),
        ({"minimum": 9, "maximum": 8}, "maximum must be a whole number, 9 or more, or None; got 8"),
        ({"maximum": "100"}, "maximum must be a whole number, 1 or more, or None; got '100'"),
        ({"maximum": 36_526}, "maximum must be at most 36525, which is 100 years; got 36526"),
        ({"default": "seven"}, "the default of parameter retention_days is outside its own limits"),
        ({"default": 40_000}, "the default of parameter retention_days is outside its own limits: .*at most 36525"),
        ({"about": None}, "about must be a text; got None"),
    ],
)
def test_a_parameter_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    declared: dict[str, Any] = {"name": "retention_days", "default": 30, "unit": "days"}
    with pytest.raises(DeclarationError, match=says):
        Parameter(**(declared | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"older_than": 90}, "older_than must be an age, like days\\(90\\), or a Parameter of days; got 90"),
        ({"older_than": "90 days"}, "older_than must be an age"),
        ({"older_than": dt.timedelta(0)}, "older_than must be longer than zero"),
        ({"older_than": relativedelta(days=-1)}, "older_than must be longer than zero"),
        ({"older_than": relativedelta(years=101)}, "older_than must be at most 100 years"),
        ({"older_than": dt.timedelta.max}, "older_than must be at most 100 years"),
        ({"older_than": days(0)}, "older_than must be longer than zero"),
        (
            {"older_than": Parameter("most", 5, "rows")},
            "older_than: parameter most is a number of rows; an age is one of minutes, hours, days, months, years",
        ),
        ({"older_than": Parameter("keep", None, "days")}, "older_than: parameter keep has no default"),
        ({"where": False}, "where must be a condition, like Table.status == 'closed'; got False"),
        ({"where": True, "older_than": None}, "where must be a condition"),
        (
            {"measured_by": "updated"},
            "measured_by must be a column of carts, or the name of one; got 'updated'",
        ),
        ({"measured_by": 7}, "measured_by must be a column of carts, or the name of one; got 7"),
        ({"target": 7}, "its table must be a mapped class, a Table or a name; got 7"),
        ({"zone": "Berlin"}, "zone is no time zone: 'Berlin'"),
        ({"visible_rows": "yes"}, "visible_rows must be"),
        ({"counting": {"kept": True}}, "counting kept must be a condition, like Table.status == 'closed'; got True"),
        ({"counting": ["kept"]}, "counting must be conditions by counter; got \\['kept'\\]"),
    ],
)
def test_a_step_over_rows_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        delete(**changes)


def test_a_condition_that_python_has_already_answered_is_refused_when_the_run_asks() -> None:
    step = delete(where=lambda run: Cart.customer_id is not None)
    with pytest.raises(DeclarationError, match=r"where must be a condition, like Table\.status == 'closed'; got True"):
        step.condition(RUN)


def update(**changes: Any) -> Update:
    declared: dict[str, Any] = {
        "target": Cart,
        "older_than": RETENTION,
        "measured_by": Cart.updated_at,
        "counter": "closed",
        "set": {Cart.note: None},
    }
    return Update(**(declared | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"set": {}}, "set must be new values by column, like {Table.status: 'closed'}; got {}"),
        ({"set": "closed"}, "set must be new values by column"),
        ({"set": {"note": None}}, "set must be new values by column"),
        ({"set": {CartItem.removed_at: None}}, "set must give new values of carts; got CartItem.removed_at"),
        ({"irreversible": "yes"}, "irreversible must be True or False; got 'yes'"),
    ],
)
def test_an_update_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=f"^step update-carts: {says}"):
        update(**changes)
    if "set" in changes:
        with pytest.raises(DeclarationError, match=f"^step update-carts: {says}"):
            update(set=lambda run: changes["set"]).fingerprint(RUN)


OTHER = CartItem.cart_id == Cart.id
RUN = Run(id=uuid.UUID(int=1), job="forget-carts", scheduled_for=NOW, parameters={"retention_days": 7})


def test_a_step_whose_age_is_that_of_another_table_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"measured_by must be a column of carts; got CartItem\.removed_at"):
        delete(measured_by=CartItem.removed_at)
    with pytest.raises(DeclarationError, match="measured_by must be a column of carts; got "):
        delete(measured_by=func.now())


@pytest.mark.parametrize("counted", [False, True])
def test_a_condition_that_would_pair_the_rows_with_those_of_another_table_is_refused(counted: bool) -> None:
    says = "reads cart_items as well as carts, and would match .*; write it as a subquery"
    with pytest.raises(
        DeclarationError, match=f"^step delete-carts: {'counting other' if counted else 'where'} {says}"
    ):
        delete(**({"counting": {"other": OTHER}} if counted else {"where": OTHER}))


def test_a_function_that_gives_such_a_condition_is_refused_when_the_run_asks() -> None:
    with pytest.raises(DeclarationError, match="where reads cart_items as well as carts"):
        delete(where=lambda run: OTHER).condition(RUN)


def test_a_condition_may_ask_other_tables_in_a_subquery() -> None:
    step = delete(where=exists().where(OTHER))
    assert "EXISTS (SELECT" in str(step.condition(RUN))
    delete(where=Cart.id.in_(select(CartItem.cart_id)))
    delete(where=exists().where(CartItem.product == "refresh"))
    delete(where=literal_column("paid").is_(False))


@pytest.mark.parametrize("where", [Cart.paid, ~Cart.paid, text("not paid")])
def test_a_condition_may_be_a_column_of_booleans_or_text(where: Any) -> None:
    assert "paid" in str(delete(where=where).condition(RUN))
    assert "paid" in str(delete(where=lambda run: where, counting={"open": where}).condition(RUN))


def test_an_age_may_be_a_timedelta_and_a_parameter_may_reach_down_to_zero() -> None:
    delete(older_than=dt.timedelta(days=90))
    delete(older_than=Parameter("retain", 0, "days", minimum=0))


@pytest.mark.parametrize("span", [minutes, hours, days, years])
@pytest.mark.parametrize("number", [-1, 1.5, "7", None, True, 10**9, 10**30])
def test_a_span_that_cannot_be_meant_is_refused(span: Any, number: Any) -> None:
    with pytest.raises(
        DeclarationError, match=rf"^{span.__name__}\(.*\): give a whole number from 0 to \d+ \(100 years\)$"
    ):
        span(number)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"counters": "own"}, "counters must be a tuple of names, like \\('own',\\); got 'own'"),
        ({"counters": ["own"]}, "counters must be a tuple of names"),
        ({"counters": ("Own",)}, "counter 'Own' must be snake_case"),
        ({"counters": ("",)}, "counter '' must be snake_case"),
        ({"counters": ("own-rows",)}, "counter 'own-rows' must be snake_case"),
        ({"counters": ("batches",)}, "counter 'batches' is already used by every run; choose another name"),
        ({"counters": ("quarantined",)}, "counter 'quarantined' is already used by every run"),
        ({"counters": ("cutoff",)}, "counter 'cutoff' is already used by every run"),
        ({"counters": ("own", "own")}, "two counters named 'own'; name them apart"),
        ({"changes": ("won",)}, "changes must be among its counters; got 'won'; did you mean 'own'"),
        ({"changes": "own"}, "changes must be a tuple of names"),
        ({"tables": "orders"}, "tables must be a tuple of names"),
        ({"parameters": RETENTION}, "parameters must be a tuple of parameters"),
        ({"destructive": "no"}, "destructive must be True or False; got 'no'"),
        ({"name": ""}, "step name '' must be kebab-case, like delete-orders"),
        ({"name": "Own step"}, "step name 'Own step' must be kebab-case"),
        ({"name": "own_step"}, "step name 'own_step' must be kebab-case"),
        ({"name": None}, "step name None must be kebab-case"),
    ],
)
def test_a_step_that_a_job_cannot_count_or_name_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=f"^job forget-carts[:,] .*{says}"):
        declare(steps=(function(**changes),))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"apply": "own"}, "step own: apply must be a function of the execution; got 'own'"),
        ({"apply": print}, "step own: apply must be a function written in Python"),
        ({"plan": None}, "step own: plan must be a function of session and run; got None"),
    ],
)
def test_a_function_step_without_its_functions_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        function(**changes)


def test_a_function_step_may_be_made_with_some_of_its_arguments() -> None:
    def own(number: int, execution: Any) -> None:
        execution.batch(number)

    assert function(apply=partial(own, 1)).fingerprint(None) == function(apply=own).fingerprint(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("table", ["Orders", "order items", "Größe", "2fa__codes"])
def test_a_step_named_after_its_table_has_a_name_that_a_job_takes(table: str) -> None:
    class Base(DeclarativeBase):
        pass

    class Odd(Base):
        __tablename__ = table
        id: Mapped[int] = mapped_column(primary_key=True)
        at: Mapped[dt.datetime] = mapped_column(index=True)

    declare(steps=(Delete(Odd, older_than=RETENTION, measured_by=Odd.at),))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"finding": "tend"}, "finding must be one of trend, anomaly; got 'tend'; did you mean 'trend'"),
        ({"scope": "per day"}, "scope 'per day' must be snake_case"),
        ({"period": "day"}, "period must be a function of the run; got 'day'"),
        ({"figures": None}, "figures must be a function of session, run and period; got None"),
        ({"counting": "sessions"}, "counting must be a tuple of names"),
    ],
)
def test_a_roll_up_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        roll_up(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target": 3}, "its table must be a mapped class, a Table or a name; got 3"),
        ({"column": "crats"}, "column must be a column of customers, or the name of one; got 'crats'"),
        ({"column": Cart.id}, "column must be a column of customers; got Cart.id"),
        ({"to": Cart.id}, "to must be a query with the columns key and value; got "),
        ({"to": select(Cart.id)}, "to must be a query with the columns key and value; got "),
        ({"where": None}, "where must be a condition"),
        ({"where": OTHER}, "where reads cart_items as well as customers"),
    ],
)
def test_a_recomputation_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    declared: dict[str, Any] = {
        "name": "recompute-carts",
        "target": Customer,
        "column": Customer.carts,
        "to": select(Cart.customer_id.label("key"), func.count().label("value")).group_by(Cart.customer_id),
        "where": Customer.left_at.is_(None),
    }
    Recompute(**declared)
    with pytest.raises(DeclarationError, match=f"^step recompute-carts: {says}"):
        Recompute(**(declared | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"channel": "mail"}, "channel must be one of in_app, email, push, ops; got 'mail'; did you mean 'email'"),
        ({"preference": 1}, "preference must be a text or None; got 1"),
        ({"counter": "Mails sent"}, "counter 'Mails sent' must be snake_case"),
    ],
)
def test_a_way_to_people_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        Via(**{"channel": "email", **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"at": "18:00"}, "at must be a time on people's own clocks, like time\\(18\\), without a zone; got '18:00'"),
        ({"at": dt.time(18, tzinfo=dt.UTC)}, "at must be a time on people's own clocks"),
        ({"weekday": 0}, "weekday must be a whole number from 1 \\(Monday\\) to 7; got 0"),
        ({"weekday": "monday"}, "weekday must be a whole number from 1 \\(Monday\\) to 7; got 'monday'"),
        ({"day": 32}, "day must be a whole number from 1 to 31; got 32"),
        ({"weekday": 1, "day": 1}, "give weekday or day, not both"),
    ],
)
def test_a_moment_that_never_comes_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        LocalMoment(**{"at": dt.time(18), **changes})


def message(**changes: Any) -> Message:
    declared: dict[str, Any] = {"kind": "cart_waiting", "to": lambda run, people: None, "via": (Via("email"),)}
    return Message(**(declared | changes))


with shop_alone():  # which has the kind
    MESSAGE = message()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "cart_waitin"}, "no kind of notice 'cart_waitin'"),
        ({"to": None}, "to must be a function of run and people; got None"),
        ({"via": Via("email")}, "via must be a tuple of channels, like \\(Via\\('email'\\),\\)"),
        ({"via": ("email",)}, "via must be a tuple of channels"),
        ({"via": ()}, "via must be a tuple of channels"),
        ({"via": (Via("ops"),)}, "the channel ops belongs to no person"),
    ],
)
def test_a_message_that_reaches_nobody_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        message(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"messages": ()}, "messages must be a tuple of messages, like \\(Message\\(…\\),\\); got \\(\\)"),
        ({"messages": MESSAGE}, "messages must be a tuple of messages"),
        ({"at": dt.time(18)}, "at must be a LocalMoment, like LocalMoment\\(time\\(18\\)\\), or None"),
        ({"counting": {"seen": 1}}, "counting must give functions of run and people by counter; seen is 1"),
    ],
)
def test_a_step_that_tells_nobody_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        Notify(**{"messages": (message(),), **changes})


def test_what_is_only_counted_needs_its_counter() -> None:
    with pytest.raises(DeclarationError, match=r"job forget-carts, step .*: counter 'Seen rows' must be snake_case"):
        declare(
            steps=(
                Count(
                    Cart,
                    older_than=RETENTION,
                    measured_by=Cart.updated_at,
                    counter="Seen rows",
                ),
            )
        )
