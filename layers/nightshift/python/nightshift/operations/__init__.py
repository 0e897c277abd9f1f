"""What operators ask and change, and what the supervisor does every minute."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.operations.answers import declared as declared, upcoming as upcoming
    from nightshift.operations.console import (
        FAILURES_SHOWN as FAILURES_SHOWN,
        PERIODS_WITHOUT_SUCCESS as PERIODS_WITHOUT_SUCCESS,
        QUERIES as QUERIES,
        Console as Console,
        answer as answer,
    )
    from nightshift.operations.control import carry_out as carry_out
    from nightshift.operations.supervisor import Round as Round, look_over as look_over

__getattr__ = face(
    __name__,
    answers="declared upcoming",
    console="Console FAILURES_SHOWN PERIODS_WITHOUT_SUCCESS QUERIES answer",
    control="carry_out",
    supervisor="Round look_over",
)
