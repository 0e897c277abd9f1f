"""Erases a person: a rule for every column, and quotes of the person's address in other people's rows."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from application.erasure.quotes import Quotes as Quotes
    from application.erasure.rules import (
        Mode as Mode,
        Person as Person,
        deletions as deletions,
        erase as erase,
        record as record,
    )

__getattr__ = face(
    __name__,
    quotes="Quotes",
    rules="Mode Person deletions erase record",
)
