"""Which job a table of a SQLite file becomes, what tells its rows, and what holds for its source."""

from control.plan.model import Plan
from control.plan.sections import Table
from control.sqlite.stage import sentinel_of
from sql.errors import GivenWrongError
from sql.job import JobSpec
from sql.sqlite.batch import ROWID, key_of
from sql.sqlite.connection import File
from sql.sqlite.facts import Catalog
from sql.sqlite.facts import Table as CatalogTable
from sql.sqlite.source import Rules
from worker.paging import LARGEST


def is_instant(plan: Plan, table: Table, original: Catalog) -> bool:
    """Whether a table needs no backfill: a constant tenant, and a column that was not there before.

    Its default answers for the rows that are there; SQLite writes it into the schema alone.
    """
    return table.constant is not None and original.table(table.name).column(plan.tenant.column) is None


def identity_of(was: CatalogTable) -> tuple[str, ...]:
    """What tells a table's rows: the name of its rowid, or the columns of its key.

    Raises:
        GivenWrongError: columns have every name of its rowid, and none of them is it.
    """
    if was.without_rowid:
        return was.primary_key
    name = was.rowid or was.rowid_alias
    if name is None:
        raise GivenWrongError(
            f"{was.name}: columns are called rowid, _rowid_ and oid, and nothing tells its rows apart; "
            "give one of them another name"
        )
    return (name,)


def rules_of(plan: Plan, table: Table, was: CatalogTable, *, walks: bool = True) -> Rules:
    """What holds for the source of a table's tenants."""
    tenant = plan.tenant
    return Rules(table.name, identity_of(was), tenant.column, sentinel_of(plan), tenant.pattern, walks)


def job_spec(plan: Plan, table: Table, was: CatalogTable, file: File) -> tuple[JobSpec, str]:
    """What a table's batches are told, and why it is paged so.

    Raises:
        GivenWrongError: its rows can't be told apart.
    """
    identity_of(was)
    key = key_of(file, was)
    spec = JobSpec(
        schema_="main",
        table=was.name,
        key=key,
        paging="contiguous",
        stripes=1,
        rows_per_page=1.0,
        most_rows=LARGEST,
        tenant_column=plan.tenant.column,
        sentinel=sentinel_of(plan),
        source=plan.source_of(table),
        named=table.name,
        pattern=plan.tenant.pattern,
        tenant_in_unique_index=False,
        hold_triggers=False,
    )
    by = "its rowid" if key[0].type == ROWID else "its key, for it has no rowid"
    return spec, f"a SQLite file keeps the table by {by}"
