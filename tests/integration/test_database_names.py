"""Steps and counters may be called what they like: no name stands in the way of the machinery's own."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import Count, Delete, Job, days
from tests.ground.functions.market._tables import Cart
from tests.integration.conftest import Invoke


@pytest.mark.parametrize("name", ["name", "args", "message", "module", "created", "asctime", "self", "event", "cause"])
def test_a_step_and_a_counter_named_like_a_field_of_a_log_record_just_work(
    name: str, invoke_job: Invoke, session: Session
) -> None:
    session.execute(text("insert into carts (updated_at) values ('2026-01-01Z')"))
    session.commit()
    seen = {"target": Cart, "older_than": days(7), "measured_by": Cart.updated_at}
    job = Job(
        name="forget-carts",
        kind="retention",
        schedule="cron(0 2 * * ? *)",
        steps=(Count(name="look", counter=name, **seen), Delete(name=name, **seen)),  # type: ignore[arg-type]
        audited=False,
    )
    result = invoke_job(job, at="2026-03-01T02:00:00Z")
    assert result["outcome"] == "succeeded"
    assert (result["counters"][name], result["counters"]["deleted"]) == (1, 1)
