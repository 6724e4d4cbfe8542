"""The composite keys, by making the tables anew (`control.sqlite.rebuild`).

Will do: each table with another key, with what is unique within each tenant, and with foreign keys that have
the tenant in them, is copied, with its rowids, beside the one that everybody works with, checked, and put in
its place by the schema alone. Tables that foreign keys join change in one moment. Where foreign keys stay as
they are (from outside the plan, or where edges may cross), what they name stays unique.

Gate: every row has its tenant, and no foreign key that gets the tenant crosses. Undoing is the same the other
way, to the statements that the file had. It is impossible once what was unique stands in two tenants.
"""

from collections.abc import Iterator

from control.plan.model import Plan
from control.sqlite.rebuild import checking
from control.sqlite.rebuild.course import discard, go
from control.sqlite.rebuild.sides import Rebuild, Side, Sides, sides
from control.sqlite.stage import Ground, Step, sentinel_of
from control.stage import Closed
from sql.errors import CatalogError
from sql.ledger import meant
from sql.sqlite import catalog
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.names import literal, quoted
from sql.sqlite.pieces import pieces
from sql.sqlite.rebuild import STATEMENTS

#: Where the ledger keeps both sides from the first step on.
MEMORY = "keys"


class Keys:
    """The stage `keys`."""

    name = "keys"

    def gate(self, ground: Ground) -> Closed | None:
        """Closed while a row has no tenant, or an edge crosses that a key with the tenant is to hold."""
        live = catalog.read(ground.connection)
        wanted, facts = sides(ground.plan, live), []
        ground.connection.execute(STATEMENTS.more_memory.filled())
        tenant, none = quoted(ground.plan.tenant.column), literal(sentinel_of(ground.plan))
        for one in wanted.tables:
            statement = STATEMENTS.without_tenant.filled(table=quoted(one.name), tenant=tenant, sentinel=none)
            if rows := int(ground.connection.value(statement)):
                facts.append(f"{rows} row(s) of {one.name} have no tenant")
        for link in wanted.links:
            rows = checking.crossing(
                ground.connection, link, ground.plan.tenant.column, child=link.child, parent=link.parent
            )
            if rows:
                facts.append(
                    f"{rows} row(s) of {link.child} name another tenant's {link.parent} by "
                    f"({', '.join(link.columns)})"
                )
        if not facts:
            return None
        return Closed(
            tuple(facts),
            'give them a tenant, mend or delete them; cross_tenant = "source", from the beginning, leaves '
            "foreign keys that cross as they are",
        )

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:  # noqa: ARG002  # the protocol's
        """None that is a statement for itself: `work` does it all."""
        return iter(())

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:  # noqa: ARG002  # the protocol's
        """None that is a statement for itself: `unwork` does it all."""
        return iter(())

    def work(self, ground: Ground) -> None:
        """To the side with the tenant."""
        go(ground, _wanted(ground), self.name, back=False)

    def unwork(self, ground: Ground) -> None:
        """To the side without it.

        Raises:
            CatalogError: a table was changed since.
        """
        kept = _kept(ground)
        if kept is not None:
            go(ground, _as_it_is(kept, catalog.read(ground.connection)), self.name, back=True)

    def no_way_back(self, ground: Ground) -> Closed | None:
        """Look for a key that stands in two tenants, and for tables that were changed since."""
        kept = _kept(ground)
        if kept is None:
            return None
        live = catalog.read(ground.connection)
        reasons = [
            reason for one in kept.tables if (reason := _cannot_undo(ground, one, live.table(one.name)))
        ]
        if not reasons:
            return None
        return Closed(tuple(reasons), f"`tenantry rollback --to {self.name}` goes back as far as it can")


STAGE = Keys()


def _kept(ground: Ground) -> Sides | None:
    found = ground.memory.recall(MEMORY)
    return None if found is None else meant(Sides, found, f"migrations.memory ({MEMORY})", ground.plan.name)


def _wanted(ground: Ground) -> Sides:
    """Both sides as they were worked out at first; anew, where a table was changed before its turn came."""
    live = catalog.read(ground.connection)
    fresh, kept = sides(ground.plan, live), _kept(ground)
    if kept is None:
        ground.memory.remember(MEMORY, fresh.model_dump(mode="json"))
        return fresh
    done = tuple(
        one for one in kept.tables if live.table(one.name).sql == one.after.sql and one not in fresh.tables
    )
    waiting = tuple(one for one in kept.tables if one not in done)
    # Of a table that has its keys another look may find more to do: a run that was killed behind the switch
    # made such a table anew once more.
    have = {one.name for one in done}
    left = tuple(one for one in fresh.tables if one.name not in have)
    if waiting == left and set(fresh.pins) <= set(kept.pins):
        return kept
    discard(ground, Sides(tables=waiting, pins=(), links=()), STAGE.name, back=False)
    both = Sides(
        tables=(*done, *left),
        pins=tuple(dict.fromkeys((*kept.pins, *fresh.pins))),
        links=tuple(dict.fromkeys((*kept.links, *fresh.links))),
    )
    ground.memory.remember(MEMORY, both.model_dump(mode="json"))
    return both


def _as_it_is(kept: Sides, live: Catalog) -> Sides:
    """Both sides, with the indexes that came since: they stay on the way back.

    Raises:
        CatalogError: a table was changed since.
    """
    tables = []
    for one in kept.tables:
        table = live.table(one.name)
        now = Side(sql=table.sql, indexes={i.name: i.sql for i in table.indexes if i.sql is not None})
        if table.sql == one.before.sql:
            tables.append(one)
            continue
        if table.sql != one.after.sql:
            raise CatalogError(_changed(one))
        came = {name: text for name, text in now.indexes.items() if name not in one.after.indexes}
        before = Side(sql=one.before.sql, indexes=one.before.indexes | came)
        tables.append(Rebuild(number=one.number, name=one.name, before=before, after=now))
    return Sides(tables=tuple(tables), pins=kept.pins, links=kept.links)


def _changed(one: Rebuild) -> str:
    return (
        f"{one.name} was changed after `keys`, and its old statement doesn't fit any more: undo that change"
    )


def _cannot_undo(ground: Ground, one: Rebuild, table: Table) -> str | None:
    """Why a table can't have its old keys again; None if it can, or has them."""
    if table.sql == one.before.sql and all(
        (index := table.index(name)) is not None and index.sql == text
        for name, text in one.before.indexes.items()
    ):
        return None
    if table.sql != one.after.sql:
        return _changed(one)
    for piece in pieces(one.name, one.before.sql, one.before.indexes):
        if not piece.unique:
            continue
        terms = [f"{part.text} COLLATE {quoted(part.collation)}" for part in piece.parts]
        filled = " AND ".join(f"{part.text} IS NOT NULL" for part in piece.parts)
        statement = STATEMENTS.in_two_tenants.filled(
            key=", ".join(terms),
            table=quoted(one.name),
            filled=f"{filled} AND ({piece.where})" if piece.where else filled,
        )
        row = ground.connection.execute(statement).fetchone()
        if row is not None:
            names = ", ".join(part.column or part.text for part in piece.parts)
            return (
                f"{one.name}: {names} = {', '.join(map(str, row[:-1]))} is there for {row[-1]} tenants, so "
                "it can't be unique again; only deleting rows would undo this"
            )
    return None
