"""PostgreSQL: settings, connections, what its errors mean, the base of the library's tables, migrations."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.database.base import (
        IN_NIGHTSHIFT as IN_NIGHTSHIFT,
        NIGHTSHIFT_SCHEMA as NIGHTSHIFT_SCHEMA,
        Base as Base,
        CreatedNow as CreatedNow,
        Json as Json,
        Off as Off,
        On as On,
        Timestamp as Timestamp,
        UuidKey as UuidKey,
        one_of as one_of,
    )
    from nightshift.database.connection import session_for as session_for, still_answers as still_answers
    from nightshift.database.failures import (
        describe as describe,
        is_locked as is_locked,
        is_passing as is_passing,
        is_row_error as is_row_error,
        sqlstate as sqlstate,
    )
    from nightshift.database.halving import (
        Leave as Leave,
        by_halves as by_halves,
        savepoint as savepoint,
        waiting_briefly as waiting_briefly,
    )
    from nightshift.database.outage import is_away as is_away
    from nightshift.database.settings import DatabaseSettings as DatabaseSettings

__getattr__ = face(
    __name__,
    base="Base CreatedNow IN_NIGHTSHIFT Json NIGHTSHIFT_SCHEMA Off On Timestamp UuidKey one_of",
    connection="session_for still_answers",
    failures="describe is_locked is_passing is_row_error sqlstate",
    halving="Leave by_halves savepoint waiting_briefly",
    outage="is_away",
    settings="DatabaseSettings",
)
