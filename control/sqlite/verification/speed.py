"""What a tenant's queries cost: an index for its rows, and the plan's own limits."""

import sqlite3
from collections.abc import Iterator, Sequence
from statistics import median

from control.plan.sections import Query
from control.sqlite.stage import Ground
from control.sqlite.verification.rows import Check, Subject
from control.verification import check
from control.verification.speed import MOST, RUNS
from sql.errors import FileBusyError
from sql.sqlite import verify

#: Below so many rows reading all of a table costs nobody anything.
SMALL = 1000


def index_used(subject: Subject) -> check.Check:
    """Whether SQLite takes an index for a small tenant's rows."""
    name = f"{subject.name}: a tenant's query takes an index"
    tenants = subject.tenants
    if not tenants:
        return Check(name, None, "no tenant has a row here", "verify.tenants")
    tenant = tenants[-1]
    lines = verify.plan_of(subject.ground.connection, subject.found, subject.column, tenant)
    told, share = f"for {tenant}: {', '.join(lines)}", subject.rows[tenant] / max(1, subject.total)
    if all(line.startswith("SEARCH") for line in lines):
        return Check(name, ok=True, evidence=told, query="verify.explain")
    if subject.total < SMALL:
        return Check(name, ok=True, evidence=f"{told}; {subject.total} rows are few", query="verify.explain")
    if share > MOST:
        told += f"; it has {share:.0%} of the rows"
        return Check(name, ok=True, evidence=told, query="verify.explain")
    if not subject.table.indexes and subject.table.primary_key is None:
        return Check(name, None, f"{told}; the plan has no index with the tenant", "verify.explain")
    return Check(name, ok=False, evidence=f"{told}, for {share:.1%} of the rows", query="verify.explain")


def queries(ground: Ground, subjects: Sequence[Subject]) -> Iterator[check.Check]:
    """The plan's own queries, `:tenant` being its largest, within their limits; the median of a few runs."""
    largest = [(subject.rows[name], name) for subject in subjects for name in subject.tenants[:1]]
    if not largest:
        return
    tenant = max(largest)[1]
    for number, query in enumerate(ground.plan.verify.queries, 1):
        name = f"query {number} within {query.max_ms:g} ms"
        try:
            yield _timed(ground, name, query, tenant)
        except (sqlite3.Error, sqlite3.Warning, FileBusyError) as error:
            told = f"as {tenant}: {verify.said(error)}"
            yield Check(name, ok=False, evidence=told, query="verify.query")


def _timed(ground: Ground, name: str, query: Query, tenant: str) -> check.Check:
    file, given = ground.connection, {"tenant": tenant}
    # One that is ten times too slow needs no more time to prove it.
    most = max(1.0, 10 * query.max_ms / 1000)
    took = median(verify.took(file, query.sql, given, seconds=most) for _ in range(RUNS)) * 1000
    lines = ", ".join(verify.plan_of_query(file, query.sql, given))
    return Check(name, took <= query.max_ms, f"{took:.2f} ms as {tenant}: {lines}", "verify.query")
