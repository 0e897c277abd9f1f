"""The Lambda side of a job: event, claim, work, result."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.runtime.events import read_event as read_event
    from nightshift.runtime.handler import (
        LambdaContext as LambdaContext,
        invoke as invoke,
        lambda_handler as lambda_handler,
    )
    from nightshift.runtime.paging import paging_handler as paging_handler

__getattr__ = face(
    __name__,
    events="read_event",
    handler="LambdaContext invoke lambda_handler",
    paging="paging_handler",
)
