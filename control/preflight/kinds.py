"""What kind of table it is: ordinary and partitioned ones can be migrated, others have a way out."""

from collections.abc import Iterator

from control.jobs import parts
from control.plan.sections import Table as PlanTable
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres import preflight
from sql.postgres.facts import Table

#: What `relkind` means, for those that hold no rows of their own here.
_KINDS = {
    "f": "a foreign table",
    "v": "a view",
    "m": "a materialized view",
    "S": "a sequence",
    "c": "a type",
}


def look(ground: Ground, table: PlanTable, found: Table) -> Iterator[Finding]:
    """What the table is; no other fact of it matters where this stops."""
    yield _kind(table, found)
    if found.kind == "p":
        yield from _partitioned(ground, table, found)


def _kind(table: PlanTable, found: Table) -> Finding:
    name = f"{table.name}: kind"
    if found.kind == "f":
        way_out = "leave it out of the plan, and migrate it where its rows are"
        return Finding("stop", name, "it is a foreign table: its rows are another server's", way_out)
    if found.kind not in ("r", "p"):
        kind = _KINDS.get(found.kind, f"of kind {found.kind!r}")
        return Finding("stop", name, f"it is {kind}", "name the tables that its rows come from")
    if found.partition_of is not None:
        way_out = f"name its parent, {found.partition_of}: its partitions come with it"
        return Finding("stop", name, f"it is a partition of {found.partition_of}", way_out)
    if found.inherits:
        fact = "it has parents or children by INHERITS, and a row of a child is no row of the table's own"
        return Finding(
            "stop", name, fact, "leave it out of the plan, or part it with NO INHERIT or by partitions"
        )
    if found.kind == "p":
        return Finding("pass", name, f"a partitioned table of {len(found.partitions)} partitions with rows")
    return Finding("pass", name, "an ordinary table")


def _partitioned(ground: Ground, table: PlanTable, found: Table) -> Iterator[Finding]:
    yield none_of(
        f"{table.name}: foreign partitions",
        [part.identifier.as_string() for part in parts(found) if part.kind == "f"],
        level="stop",
        way_out="DETACH them: their rows are another server's; or leave the table out of the plan",
        fine="none",
    )
    column = ground.plan.tenant.column
    yield none_of(
        f"{table.name}: partition key",
        preflight.partitioned_by(ground.connection, preflight.trees(ground.connection, [found.oid]), column),
        level="stop",
        way_out=f"{column} decides there in which partition a row lies, so that no batch could change it: "
        "name another column",
        fine=f"{column} is not in it",
    )
    if table.primary_key is not None:
        trees = preflight.trees(ground.connection, [found.oid])
        others = [c.name for c in found.columns if c.name not in table.primary_key]
        yield none_of(
            f"{table.name}: partition key in primary_key",
            [name for name in others if preflight.partitioned_by(ground.connection, trees, name)],
            level="stop",
            way_out="a key of a partitioned table holds the columns that it is partitioned by: add them",
            fine="it holds it",
        )
