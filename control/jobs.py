"""Which jobs a table becomes: its parts, the key they are paged by, the way of paging, and why that."""

import math
from collections.abc import Sequence

from control.plan.model import Plan
from control.plan.sections import Paging, Table
from sql.job import JobSpec, KeyColumn
from sql.job import Paging as Way
from sql.postgres import paging
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from sql.postgres.facts import Table as CatalogTable
from sql.postgres.paging import Heap
from sql.postgres.source import Rules
from worker.paging import LARGEST, RANGES, SMALLEST

#: The share of its rows that may leave a page. Those of the first visit must, and all others fit into the
#: room of those before: the fewer leave, the more visits. But every visit reads the whole page. On one
#: connection, 46 rows to a page: 12 visits 117,000 rows/s, and the table ended at 1.09 of its size; 16 visits
#: 100,000 rows/s, and 1.07.
LEAVING = 0.09
#: Visits to a page, at most.
STRIPES = 24
#: Above this the key follows the heap (pg_stats.correlation), and contiguous ranges would double the table.
FOLLOWS_HEAP = 0.5
#: A heap of so many pages is filled in a second or so whatever the way: it needs no stripes.
SMALL = 256
#: Pages of a group, at most: 128 MB. Beyond it nothing is gained, and the cache is the application's too.
GROUP = 16_384


#: What the plan's `synchronous_commit` means for batches (design, section 2). Stages and DDL always wait.
COMMITS = {
    "on": "every batch is on disk, and where the standbys want it on theirs, before the next",
    "off": "a crash of the server may undo the last ones, rows and ledger together, and they are done again",
}


def is_instant(plan: Plan, table: Table, original: Catalog) -> bool:
    """Whether a table needs no backfill: a constant tenant, and a column that was not there before.

    Its default answers for every row, written nowhere but in the catalog (PostgreSQL 11).
    """
    return table.constant is not None and original.table(table.name).column(plan.tenant.column) is None


def rules_of(plan: Plan, table: Table, *, walks: bool = True) -> Rules:
    """What holds for the source of a table's tenants."""
    tenant = plan.tenant
    return Rules(table.name, tenant.column, tenant.sentinel_value, tenant.pattern, walks)


def parts(table: CatalogTable) -> tuple[CatalogTable, ...]:
    """What of a table holds rows: its leaf partitions, or itself."""
    return table.partitions if table.kind == "p" else (table,)


def key_of(table: CatalogTable) -> tuple[KeyColumn, ...]:
    """The key that ranges are cut by: the primary key, or else a unique index without NULLs; or none."""
    unique = (i for i in table.indexes if i.unique and i.valid and i.btree_columns)
    usable = [i for i in unique if _not_null(table, i.columns)]
    primary = table.primary_key.index if table.primary_key else None
    index = next((i for i in usable if i.name == primary), usable[0] if usable else None)
    if index is None:
        return ()
    collations = index.collations or (None,) * len(index.columns)
    return tuple(
        KeyColumn(name=column.name, type=column.type, collation=collation)
        for name, collation in zip(index.columns, collations, strict=True)
        if (column := table.column(name)) is not None
    )


def _not_null(table: CatalogTable, names: Sequence[str]) -> bool:
    columns = [table.column(name) for name in names]
    return bool(columns) and all(column is not None and column.not_null for column in columns)


def job_spec(plan: Plan, table: Table, part: CatalogTable, heap: Heap) -> tuple[JobSpec, str]:
    """What the workers are told of a table's part, and why it is paged so."""
    key = key_of(part)
    way, why = chosen(plan.paging_of(table), key, heap)
    stripes = 1 if way == "contiguous" else visits(heap.rows_per_page)
    group = min(GROUP, heap.cache // 4)
    spec = JobSpec(
        schema_=part.schema_,
        table=part.name,
        key=key,
        paging=way,
        stripes=stripes,
        rows_per_page=heap.rows_per_page,
        most_rows=largest(group * heap.rows_per_page, stripes),
        tenant_column=plan.tenant.column,
        sentinel=plan.tenant.sentinel_value,
        source=plan.source_of(table),
        named=table.name,
        pattern=plan.tenant.pattern,
        tenant_in_unique_index=any(i.unique and plan.tenant.column in i.columns for i in part.indexes),
        hold_triggers=plan.holds_triggers(table),
    )
    return spec, why


def heap_of(connection: Connection, part: CatalogTable) -> Heap:
    """Look at the heap of a table's part, and at how its key lies in it."""
    key = key_of(part)
    return paging.heap(connection, part.identifier, column=key[0].name if key else None)


def visits(rows_per_page: float) -> int:
    """How often a page of so many rows is visited: as seldom as `LEAVING` allows, whole rows at a visit."""
    together = max(1, int(LEAVING * rows_per_page))
    return min(STRIPES, max(1, math.ceil(rows_per_page / together)))


def largest(group_rows: float, stripes: int) -> int:
    """The largest batch: over the visits of a group of striped ranges its pages must stay in cache."""
    if stripes == 1:
        return LARGEST
    return round(min(LARGEST, max(SMALLEST, group_rows / (RANGES * stripes))))


def chosen(wanted: Paging, key: Sequence[KeyColumn], heap: Heap) -> tuple[Way, str]:
    """The way of paging, as the plan wants it or as the table is, and why.

    Striped pages were the fastest way for a key in insertion order and for a random one, in cache and out of
    it (`docs/performance.md`), so `auto` takes them wherever stripes are worth their visits. Among keys,
    contiguous ranges of one that follows the heap double the table, and stripes of a random one read each
    page so many times for nothing.
    """
    if not key:
        return "pages", "it has no key to page by"
    if wanted != "auto" and wanted != "keys":  # noqa: PLR1714  # a set would not narrow the type
        return wanted, "the plan wants it"
    if heap.pages <= SMALL:
        return "contiguous", f"a heap of {heap.pages:,} pages is filled in a moment"
    follows = "how its key lies in the heap is not known: ANALYZE tells"
    striped = heap.correlation is None or abs(heap.correlation) >= FOLLOWS_HEAP
    if heap.correlation is not None:
        does = "follows" if striped else "is spread over"
        follows = f"its key {does} the heap (correlation {heap.correlation:.2f})"
    if wanted == "keys":
        return ("striped" if striped else "contiguous"), f"the plan wants keys, and {follows}"
    fits = "fits into" if heap.pages <= heap.cache else "is larger than"
    return "pages", f"its heap of {heap.pages:,} pages {fits} the cache of {heap.cache:,}, and {follows}"
