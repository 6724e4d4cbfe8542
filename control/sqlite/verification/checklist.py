"""Every check of a file's migration, in the order in which they are read."""

from collections.abc import Iterator

from control.sqlite.stage import Ground
from control.sqlite.steps import look
from control.sqlite.verification import baseline, isolation, leftovers, rows, speed, structure
from control.sqlite.verification.rows import Check, Subject
from control.verification import check, ledgered
from sql.sqlite import verify
from sql.sqlite.facts import Catalog


def run_checks(ground: Ground) -> list[check.Check]:
    """Look at everything that must hold at the end; changes nothing.

    Raises:
        FileBusyError: not in WAL mode, and a writer was in the way.
        PlanError: a table of the plan isn't there.
    """
    file = ground.connection
    live = look(file, ground.plan)
    if without := _without_column(ground, live):
        return without
    began = baseline.recall(ground)
    filled = verify.filled(file, ground.migration) if ground.migration else {}
    checks: list[check.Check] = []
    # One moment for all rows: what an application writes meanwhile must not look like a row that is lost.
    with file.snapshot():
        subjects = list(_subjects(ground, live))
        for subject in subjects:
            before = began.tables.get(subject.name) if began is not None else None
            checks += rows.owned(subject)
            checks += rows.edges(subject, live)
            checks += [structure.primary_key(subject), structure.foreign_keys(subject, ground.original)]
            checks += [structure.indexes(subject), structure.kept(subject)]
            checks += rows.counted(subject, filled, before)
            checks += rows.sampled(subject, before)
            checks += [isolation.views(subject), speed.index_used(subject)]
    checks += speed.queries(ground, subjects)
    checks += isolation.ways_round(live, subjects)
    checks.append(_no_row_security())
    checks.append(structure.the_rest(ground.original, live, [table.name for table in ground.plan.tables]))
    checks += [rows.foreign_keys_hold(ground), leftovers.integrity(ground)]
    checks.append(ledgered.every_backfill(ground, "sqlite"))
    checks += [leftovers.write_guard(ground), leftovers.nothing_left(ground)]
    return checks


def _without_column(ground: Ground, live: Catalog) -> list[check.Check]:
    """Tables without the tenant column: of them nothing else can be asked, nor of those that lean on them."""
    column = ground.plan.tenant.column
    return [
        Check(
            f"{table.name}: tenant column",
            ok=False,
            evidence=f"there is no {column} yet: `tenantry run` adds it, and nothing is verified before",
            query="catalog.columns",
        )
        for table in ground.plan.tables
        if live.table(table.name).column(column) is None
    ]


def _subjects(ground: Ground, live: Catalog) -> Iterator[Subject]:
    for table in ground.plan.tables:
        found = live.table(table.name)
        counted = verify.tenants(ground.connection, found, ground.plan.tenant.column)
        yield Subject(ground, table, ground.original.table(table.name), found, counted)


def _no_row_security() -> check.Check:
    told = (
        "SQLite has none: each statement has to ask for its tenant. The application's tests can find those "
        "that don't, and views can ask in their place: docs/application.md"
    )
    return Check("row-level security", None, told, "verify.view")
