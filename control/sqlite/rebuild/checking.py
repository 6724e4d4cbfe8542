"""Whether a new table holds what the old one does, byte for byte, and its foreign keys lead somewhere."""

from collections.abc import Sequence

from control.sqlite.rebuild.making import Making
from control.sqlite.rebuild.sides import Link
from sql.errors import CatalogError
from sql.sqlite.connection import File
from sql.sqlite.integrity import faults
from sql.sqlite.names import folded, quoted
from sql.sqlite.rebuild import STATEMENTS, balanced


def compare(file: File, one: Making, *, noted: bool) -> None:
    """Hold every value of every row against the other table's. In a transaction or a snapshot of both.

    `noted` leaves out the rows that are noted as to be read again.

    Raises:
        CatalogError: a row is missing, too many, or another one.
    """
    key, first = one.key, quoted(one.key[0])
    same_key = " AND ".join(f"n.{quoted(name)} = o.{quoted(name)}" for name in key)
    tables = {"table": quoted(one.name), "into": quoted(one.new), "same_key": same_key}
    unless = ""
    if noted:
        values = ", ".join(f"o.{quoted(name)}" for name in key)
        unless = f" AND ({values}) NOT IN (SELECT {', '.join(one.noted)} FROM {quoted(one.notes)})"  # noqa: S608  # names, quoted
    same = balanced([_same(column.name) for column in one.was.columns], "AND")
    differing = int(
        file.value(STATEMENTS.differing.filled(**tables, first=first, same=same, unless_noted=unless))
    )
    surplus = int(file.value(STATEMENTS.surplus.filled(**tables, unless_noted=unless)))
    if differing or surplus:
        raise CatalogError(
            f"{one.name}: {differing} row(s) missing or different in the new table and {surplus} too many; "
            "the original is untouched. `tenantry rollback` takes the new table away"
        )


def _same(column: str) -> str:
    name = quoted(column)
    return f"(o.{name} IS n.{name} COLLATE BINARY AND typeof(o.{name}) = typeof(n.{name}))"


def integrity(file: File, table: str) -> None:
    """See that a table and its indexes fit each other.

    Raises:
        CatalogError: they don't.
    """
    for fault in faults(file, most=1, table=table):
        raise CatalogError(f"{table}: {fault}; the original is untouched")


def crossing(file: File, link: Link, tenant: str, *, child: str, parent: str, within: str = "") -> int:
    """How many rows' foreign keys lead nowhere with the tenant in them, and lead somewhere without it."""
    filled = " AND ".join(f"c.{quoted(name)} IS NOT NULL" for name in (*link.columns, tenant))
    matches = " AND ".join(
        f"p.{quoted(theirs)} = c.{quoted(ours)}"
        for ours, theirs in zip(link.columns, link.targets, strict=True)
    )
    return int(
        file.value(
            STATEMENTS.crossing.filled(
                child=quoted(child),
                parent=quoted(parent),
                filled=filled + within,
                matches=matches,
                tenant=quoted(tenant),
            )
        )
    )


def links_hold(
    file: File, group: Sequence[Making], links: Sequence[Link], tenant: str, *, within: bool = False
) -> None:
    """See that no foreign key of the new tables crosses; `within` only those of rows that are noted.

    Raises:
        CatalogError: one does.
    """
    for link in links:
        child = next((one for one in group if folded(one.name) == folded(link.child)), None)
        parent = next((one for one in group if folded(one.name) == folded(link.parent)), None)
        if child is None or parent is None:
            continue
        only = ""
        if within:
            values = ", ".join(f"c.{quoted(name)}" for name in child.key)
            only = f" AND ({values}) IN (SELECT {', '.join(child.noted)} FROM {quoted(child.notes)})"  # noqa: S608  # names, quoted
        rows = crossing(file, link, tenant, child=child.new, parent=parent.new, within=only)
        if rows:
            raise CatalogError(
                f"{rows} row(s) of {link.child} name another tenant's {link.parent} by "
                f"({', '.join(link.columns)}); mend or delete them, then `tenantry run` again"
            )
