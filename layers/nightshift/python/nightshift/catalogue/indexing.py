"""The SQL of an index that is missing, which the application goes on beside."""

from collections.abc import Sequence
from zlib import crc32

from nightshift.catalogue.table import Branch, Keyed, Leaf, TableFacts, quoted_whole
from nightshift.database.quoting import quoted


def create_index(facts: TableFacts, columns: Sequence[str]) -> str:
    """The SQL that makes an index while the application goes on, one statement after the other.

    Only those tables get one that hold rows and have none: of plain inheritance the table itself, or those that inherit
    from it. PostgreSQL builds none concurrently on a partitioned table. There the index is declared, built on each
    partition, and joined, which takes a moment for each.
    """
    keys = ", ".join(map(quoted, columns))
    leaves = [leaf for leaf in facts.leaves if leaf.filenode]
    without = [leaf for leaf in leaves if _found_on(leaf, columns) is None] or leaves
    if facts.kind != "p":
        return "; ".join(f"create index concurrently on {quoted_whole(leaf.name)} ({keys})" for leaf in without)
    declared, made = dict[int, str](), []
    for branch in facts.branches:
        known = next((each.name for each in branch.keyed if _joins(each, columns)), None)
        if known is None:
            made.append(
                f"create index {quoted(_index_name(branch, columns))} on only {quoted_whole(branch.name)} ({keys})"
            )
        declared[branch.oid] = known or _name_beside(branch, _index_name(branch, columns))
    joined = [
        f"alter index {declared[branch.parent]} attach partition {declared[branch.oid]}"
        for branch in facts.branches
        if branch.parent in declared
    ]
    for leaf in leaves:
        found = _found_on(leaf, columns)
        name = _name_beside(leaf, _index_name(leaf, columns)) if found is None else found.name
        if found is None:
            name_of_it = quoted(_index_name(leaf, columns))
            made.append(f"create index concurrently {name_of_it} on {quoted_whole(leaf.name)} ({keys})")
        if found is None or _joins(found, columns):
            joined.append(f"alter index {declared[leaf.parent]} attach partition {name}")
    return "; ".join([*made, *joined])


def _found_on(leaf: Leaf, columns: Sequence[str]) -> Keyed | None:
    """Its index that begins with these columns, in whatever order; one that can be joined before others."""
    fitting = [each for each in leaf.keyed if set(each.columns[: len(columns)]) == set(columns)]
    return min(fitting, key=lambda each: not _joins(each, columns), default=None)


def _joins(index: Keyed, columns: Sequence[str]) -> bool:
    """Whether it can be a part of an index on these columns of the table that its own is a partition of."""
    return index.columns == tuple(columns) and not index.unique


LONGEST_NAME = 63
"""Bytes of a name in PostgreSQL."""


def _index_name(table: Leaf | Branch, columns: Sequence[str]) -> str:
    """A name that is not one of those that PostgreSQL or a framework gives, and always the same."""
    whole = f"{table.name.partition('.')[2]}_{'_'.join(columns)}_lookup"
    if len(whole.encode()) <= LONGEST_NAME:
        return whole
    digest = f"_{crc32(whole.encode()):08x}_lookup"
    return whole.encode()[: LONGEST_NAME - len(digest)].decode(errors="ignore") + digest


def _name_beside(table: Leaf | Branch, index: str) -> str:
    return f"{quoted(table.name.partition('.')[0])}.{quoted(index)}"
