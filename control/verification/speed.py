"""What a tenant's queries cost: an index under the policy, its overhead, and the plan's own limits."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from control.plan.model import Plan
from control.plan.sections import Query
from control.verification.check import Check, Subject, nobody
from sql.postgres import verify
from sql.postgres.connection import Connection
from sql.postgres.verify import STATEMENTS

#: Below so many pages (8 MB) reading the whole table is what a good planner does.
SMALL = 1000
#: A tenant with more than this share of the rows is rightly read by a scan of the table.
MOST = 0.1
#: Times that a query is run, for the middle of what it took.
RUNS = 5


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


def _scans(plan: dict[str, Any]) -> list[str]:
    """How a plan reads: each scan with its index or table."""
    return [
        f"{node['Node Type']} {node.get('Index Name') or node.get('Relation Name') or ''}".strip()
        for node in _nodes(plan)
        if "Scan" in node["Node Type"]
    ]


def index_used(subject: Subject) -> Check:
    """Whether the planner takes an index for a small tenant's rows, under the policy where there is one."""
    name = f"{subject.name}: a tenant's query takes an index"
    if not subject.tenants.sample:
        return Check(name, None, "no tenant has a row here", "verify.tenants")
    tenant = subject.tenants.sample[-1]
    # In observe the policy is an OR, which no index serves: there the query must name its tenant.
    leans = subject.table.rls is not None and subject.table.rls.mode != "observe"
    statement = verify.count_where(
        STATEMENTS.explain, subject.found.identifier, subject.column, None if leans else tenant
    )
    with subject.nobody() as session:
        scans = _scans(session.value(tenant, statement)[0]["Plan"])
    pages = verify.pages(subject.connection, subject.found)
    rows = verify.rows_of(subject.connection, subject.found.identifier, subject.column, [tenant]).get(
        tenant, 0
    )
    share = rows / max(1, subject.tenants.total)
    evidence = f"for {tenant}: {', '.join(scans)}"
    if not any(scan.startswith("Seq Scan") for scan in scans):
        return Check(name, ok=True, evidence=evidence, query="verify.explain")
    if pages < SMALL:
        return Check(
            name, ok=True, evidence=f"{evidence}; {pages} pages are too few for one", query="verify.explain"
        )
    if share > MOST:
        return Check(
            name, ok=True, evidence=f"{evidence}; it has {share:.0%} of the rows", query="verify.explain"
        )
    return Check(
        name, ok=False, evidence=f"{evidence}, for {share:.1%} of {pages} pages", query="verify.explain"
    )


def overhead(subject: Subject) -> Check:
    """What the policy costs: the time of a count under it, over that of the same count without. Only told."""
    name = f"{subject.name}: cost of the policy"
    if not subject.tenants.sample:
        return Check(name, None, "no tenant has a row here", "verify.tenants")
    tenant = subject.tenants.sample[len(subject.tenants.sample) // 2]
    table, column = subject.found.identifier, subject.column
    under = verify.count_where(STATEMENTS.time, table, column, tenant)
    with_policy, without = [], []
    with subject.nobody() as session:
        for _ in range(RUNS):
            with_policy.append(session.value(tenant, under)[0]["Execution Time"])
            row = subject.connection.execute(under).fetchone()
            without += [row[0][0]["Execution Time"]] if row is not None else []
    ratio = median(with_policy) / max(median(without), 0.001)
    evidence = f"{ratio:.2f} of the time without it ({median(with_policy):.2f} ms, {median(without):.2f} ms)"
    return Check(name, None, f"counting {tenant} takes {evidence}", "verify.time")


def queries(connection: Connection, plan: Plan, subjects: Sequence[Subject]) -> list[Check]:
    """The plan's own queries, as its largest tenant, within their limits; the median of a few runs."""
    largest = [(s.tenants.owned, s.tenants.sample[0]) for s in subjects if s.tenants.sample]
    if not plan.verify.queries or not largest:
        return []
    tenant = max(largest)[1]
    checks = []
    for number, query in enumerate(plan.verify.queries, 1):
        name = f"query {number} within {query.max_ms:g} ms"
        try:
            checks.append(_timed(connection, plan, name, query, tenant))
        except psycopg.Error as error:
            said = error.diag.message_primary or str(error)
            checks.append(Check(name, ok=False, evidence=f"as {tenant}: {said}", query="verify.time_query"))
    return checks


def _timed(connection: Connection, plan: Plan, name: str, query: Query, tenant: str) -> Check:
    statement: sql.Composed = verify.timed(query.sql)
    took = []
    with nobody(connection, plan) as session:
        # One that is ten times too slow needs no more time to prove it.
        verify.read_only(connection, timeout_ms=max(1000.0, 10 * query.max_ms))
        for _ in range(RUNS):
            # Prepared, because the protocol then takes one statement only: no second one behind a semicolon.
            (told,) = session.value(tenant, statement, prepare=True)
            took.append(told["Planning Time"] + told["Execution Time"])
    scans = ", ".join(_scans(told["Plan"]))
    return Check(
        name, median(took) <= query.max_ms, f"{median(took):.2f} ms as {tenant}: {scans}", "verify.time_query"
    )
