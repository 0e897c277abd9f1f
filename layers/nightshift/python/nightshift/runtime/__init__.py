"""The Lambda side of a job: event, claim, work, result."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.runtime.entry import LambdaContext as LambdaContext, entry_point as entry_point
    from nightshift.runtime.events import read_event as read_event
    from nightshift.runtime.handler import invoke as invoke, lambda_handler as lambda_handler
    from nightshift.runtime.paging import paging_handler as paging_handler

__getattr__ = face(
    __name__,
    entry="LambdaContext entry_point",
    events="read_event",
    handler="invoke lambda_handler",
    paging="paging_handler",
)
