"""What the live database says of a table: columns, keys, indexes, foreign keys to it, partitions, rights."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.catalogue.ages import (
        Measure as Measure,
        Snowflake as Snowflake,
        before as before,
        older_than as older_than,
    )
    from nightshift.catalogue.cascades import (
        SHARE_APPLIES_ABOVE as SHARE_APPLIES_ABOVE,
        Cascade as Cascade,
        Closure as Closure,
        closure as closure,
        going as going,
    )
    from nightshift.catalogue.partitions import (
        Partition as Partition,
        against_whole as against_whole,
        around as around,
        tree_of as tree_of,
    )
    from nightshift.catalogue.reading import find as find, read as read
    from nightshift.catalogue.table import (
        NoTableError as NoTableError,
        Portion as Portion,
        TableError as TableError,
        TableFacts as TableFacts,
    )

__getattr__ = face(
    __name__,
    ages="Measure Snowflake before older_than",
    cascades="SHARE_APPLIES_ABOVE Cascade Closure closure going",
    partitions="Partition against_whole around tree_of",
    reading="find read",
    table="NoTableError Portion TableError TableFacts",
)
