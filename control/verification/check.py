"""A check, and what all checks of one table stand on."""

from dataclasses import dataclass

from control.plan.model import Plan, Table
from sql.postgres import catalog
from sql.postgres.connection import Connection
from sql.postgres.verify import Tenants


@dataclass(frozen=True, slots=True)
class Check:
    """One fact, looked at: `ok` is None where it is only told.

    `query` names the statement that gave the evidence, as `file.name` of the folder `sql/postgres`.
    """

    name: str
    ok: bool | None
    evidence: str
    query: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A table under verification: in the plan, in the catalog before and now, and its rows by tenant."""

    connection: Connection
    plan: Plan
    table: Table
    original: catalog.Table
    found: catalog.Table
    tenants: Tenants

    @property
    def name(self) -> str:
        """As the plan calls it."""
        return self.table.name

    @property
    def column(self) -> str:
        """The tenant column."""
        return self.plan.tenant.column

    @property
    def roles(self) -> tuple[str, ...]:
        """Whom its policy holds; none for everybody."""
        return self.table.rls.roles if self.table.rls is not None else ()

    def tried(self) -> str:
        """Who the sample is, for the evidence."""
        return f"{len(self.tenants.sample)} of {self.tenants.tenants} tenants"


def listed(things: list[str], most: int = 3) -> str:
    """The first few of them, and how many more there are."""
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return "; ".join(things[:most]) + more
