"""What operators ask and change, and what the supervisor does every minute."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.operations.answers import (
        declared as declared,
        upcoming as upcoming,
        without_database as without_database,
    )
    from nightshift.operations.console import (
        FAILURES_SHOWN as FAILURES_SHOWN,
        PERIODS_WITHOUT_SUCCESS as PERIODS_WITHOUT_SUCCESS,
        QUERIES as QUERIES,
        READS as READS,
        Console as Console,
        answer as answer,
    )
    from nightshift.operations.control import COMMANDS as COMMANDS, carry_out as carry_out
    from nightshift.operations.supervisor import Notice as Notice, Round as Round, look_over as look_over
    from nightshift.operations.watch import WatchError as WatchError, look as look, ping as ping

__getattr__ = face(
    __name__,
    answers="declared upcoming without_database",
    console="Console FAILURES_SHOWN PERIODS_WITHOUT_SUCCESS QUERIES READS answer",
    control="COMMANDS carry_out",
    supervisor="Notice Round look_over",
    watch="WatchError look ping",
)
