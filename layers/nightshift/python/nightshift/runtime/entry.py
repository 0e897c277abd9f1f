"""Where Lambda comes in. What every function has, those without a database too."""

import gc
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar

from nightshift import telemetry


class LambdaContext(Protocol):
    """The part of Lambda's context object that a function uses."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


Result = TypeVar("Result")


def entry_point(handler: Callable[[Any, LambdaContext], Result]) -> Callable[[Any, LambdaContext], Result]:
    """What Lambda calls: nothing of an earlier invocation is in its log, and its metrics are written, however it ends.

    It is the last thing that a function's module makes: a cold start ends here, in which no garbage was looked for (see
    `functions`). Nor will it ever be among what the imports have made.
    """

    @wraps(handler)
    def called(event: Any, context: LambdaContext) -> Result:
        telemetry.logger().clear_state()
        try:
            return handler(event, context)
        finally:
            telemetry.flush()

    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    return called
