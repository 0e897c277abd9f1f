"""The example's own kinds of step refuse a field's wrong value at import, like the library's."""

from collections.abc import Callable
from typing import Any

import pytest

from functions.administration.reports.step import WriteReport
from functions.administration.subscriptions.transition import Transition
from functions.administration.subscriptions.watch import Watch
from nightshift import DeclarationError


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (
            lambda: Transition(
                name="suspend",
                counter="suspended",
                event="suspended",
                to="unpaid",
                where=None,  # type: ignore[arg-type]
                effective_at=None,  # type: ignore[arg-type]
                licences="suspended",  # type: ignore[arg-type]
            ),
            "^step suspend: licences must be one of suspend, resume; got 'suspended'; did you mean 'suspend'",
        ),
        (
            lambda: Watch(rule="licence-seats", severity="hihg", found=None),  # type: ignore[arg-type]
            "^step watch-licence-seats: severity must be one of low, .*; got 'hihg'; did you mean 'high'",
        ),
        (
            lambda: WriteReport(kind="dayly", period=None, figures=None),  # type: ignore[arg-type]
            "^step report: kind must be one of daily, weekly, monthly; got 'dayly'; did you mean 'daily'",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_the_nearest_one(declare: Callable[[], Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        declare()
