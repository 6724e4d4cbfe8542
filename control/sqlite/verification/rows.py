"""The rows themselves: each has a tenant, a proper one, its parents are in the same, and none is missing."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.sqlite.stage import Ground, sentinel_of
from control.sqlite.tenants import proper
from control.sqlite.verification import baseline
from control.sqlite.verification.baseline import Rows
from control.verification import check
from control.verification.check import listed
from sql.sqlite import verify
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.names import folded
from sql.tenant_source import Parent

#: A check of a file.
Check = partial(check.Check, database="sqlite")


@dataclass(frozen=True, slots=True)
class Subject:
    """A table under verification: in the plan, in the schema before and now, and its rows by tenant."""

    ground: Ground
    table: PlanTable
    original: Table
    found: Table
    rows: dict[Any, int]
    """By what they hold as their tenant, the largest first."""

    @property
    def name(self) -> str:
        """As the plan calls it."""
        return self.table.name

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.ground.plan

    @property
    def column(self) -> str:
        """The tenant column."""
        return self.plan.tenant.column

    @property
    def total(self) -> int:
        """All of its rows."""
        return sum(self.rows.values())

    @property
    def tenants(self) -> list[str]:
        """The tenants that have rows here, the largest first."""
        return [name for name in self.rows if self._is_tenant(name)]

    @property
    def malformed(self) -> dict[Any, int]:
        """Rows by what they hold that is no tenant."""
        return {name: rows for name, rows in self.rows.items() if self._is_malformed(name)}

    def _is_malformed(self, name: Any) -> bool:
        return name is not None and name != sentinel_of(self.plan) and not self._is_tenant(name)

    def _is_tenant(self, name: Any) -> bool:
        return (
            isinstance(name, str)
            and name != sentinel_of(self.plan)
            and proper(self.plan.tenant.pattern, name)
        )


def owned(subject: Subject) -> Iterator[check.Check]:
    """No sentinel left, and every tenant as the pattern has it."""
    sentinel = sentinel_of(subject.plan)
    shown = "NULL" if sentinel is None else repr(sentinel)
    unfilled = subject.rows.get(None, 0) + (subject.rows.get(sentinel, 0) if sentinel is not None else 0)
    yield Check(
        f"{subject.name}: every row has a tenant",
        unfilled == 0,
        f"{unfilled} of {subject.total} rows hold {shown}",
        "verify.tenants",
    )
    bad = subject.malformed
    told = f"{len(subject.tenants)} tenants match {subject.plan.tenant.pattern}"
    if bad:
        told = f"{sum(bad.values())} rows of other tenants, such as {listed([repr(name) for name in bad])}"
    yield Check(f"{subject.name}: every tenant matches the pattern", not bad, told, "verify.tenants")


def edges(subject: Subject, live: Catalog) -> Iterator[check.Check]:
    """No row whose parent is another tenant's. One that is not there at all is the foreign keys' business."""
    crossing = subject.plan.tenant.cross_tenant == "source"
    for parent, pairs, leads in _edges(subject):
        strays = verify.strays(
            subject.ground.connection, subject.found, live.table(parent), pairs, subject.column
        )
        told = f"every row finds its {parent} in its own tenant, or nowhere"
        if strays.rows:
            told = f"{strays.rows} rows name a {parent} of another tenant, such as {strays.example}"
        columns = ", ".join(ours for ours, _ in pairs)
        may = crossing and not leads
        yield Check(
            f"{subject.name}: ({columns}) stays within the tenant",
            None if may else strays.rows == 0,
            told,
            "verify.edges",
        )


def _edges(subject: Subject) -> Iterator[tuple[str, tuple[tuple[str, str], ...], bool]]:
    """Where a table points in the plan, by (ours, theirs) columns; and whether its tenant is from there."""
    called = {folded(table.name): table.name for table in subject.plan.tables}
    sources = {}
    if isinstance(subject.table.tenant, Parent):
        told = subject.table.tenant
        sources[told.parent] = tuple(told.on.items())
        yield told.parent, tuple(told.on.items()), True
    for key in subject.original.foreign_keys:
        parent = called.get(folded(key.target))
        pairs = tuple(
            (ours, theirs)
            for ours, theirs in zip(key.columns, key.target_columns, strict=False)
            if ours != subject.column
        )
        if parent is not None and pairs and sources.get(parent) != pairs:
            yield parent, pairs, False


def counted(subject: Subject, filled: dict[str, int], before: Rows | None) -> Iterator[check.Check]:
    """What was there and what batches filled, against what is there. SQLite doesn't count what is deleted."""
    name = f"{subject.name}: no row went missing"
    known = filled.get(subject.name)
    told = [
        *([f"{before.rows} when the migration began"] if before is not None else []),
        *([f"{known} filled"] if known is not None else []),
        f"{subject.total} now",
    ]
    least = max(known or 0, before.rows if before is not None else 0)
    if subject.total >= least:
        yield Check(name, ok=True, evidence=", ".join(told), query="verify.filled")
    else:
        told.append("a file doesn't count what is deleted: the difference should be what yours did")
        yield Check(name, None, ", ".join(told), "verify.filled")


def sampled(subject: Subject, before: Rows | None) -> Iterator[check.Check]:
    """Rows of before, column by column: what differs should be what the application changed since."""
    if before is None or not before.sample:
        return
    name = f"{subject.name}: rows are as they were"
    found = baseline.compare(subject.ground, subject.found, before)
    told = f"of {len(before.sample)} looked at, {found.same} are the same in every column but the tenant's"
    if found.changed:
        columns = ", ".join(f"{column} of {rows}" for column, rows in found.columns.items())
        told += f", {found.changed} have changed ({columns})"
    if found.gone:
        told += f", {found.gone} are gone"
    if found.same == len(before.sample):
        yield Check(name, ok=True, evidence=told, query="verify.again")
    else:
        yield Check(name, None, f"{told}; that should be what the application did since", "verify.again")


def foreign_keys_hold(ground: Ground) -> check.Check:
    """`foreign_key_check`, beside what was broken before: SQLite enforces none unless a connection asks."""
    name = "foreign keys hold"
    try:
        found = verify.broken_keys(ground.connection)
    except sqlite3.OperationalError as error:
        told = f"SQLite can't look: {verify.said(error)}"
        return Check(name, ok=False, evidence=told, query="verify.broken_keys")
    began = baseline.recall(ground)
    known = (began.broken if began is not None else None) or {}
    more = {edge: rows for edge, rows in found.items() if rows > known.get(edge, 0)}
    told = ", ".join(f"{rows} rows of {edge}" for edge, rows in found.items()) or "no row breaks one"
    if more:
        return Check(name, ok=False, evidence=f"broken: {told}", query="verify.broken_keys")
    if found:
        return Check(name, None, f"broken as they were before: {told}", "verify.broken_keys")
    return Check(name, ok=True, evidence=told, query="verify.broken_keys")
