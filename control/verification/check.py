"""A check, and what all checks of one table stand on."""

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import sql.sqlite
from control.plan.model import Plan
from control.plan.sections import Table
from sql.named import load
from sql.postgres import facts, verify
from sql.postgres.connection import Connection
from sql.postgres.verify import Nobody, Tenants

#: Where the statements of a database are.
_FOLDERS = {"postgres": Path(verify.__file__).parent, "sqlite": Path(sql.sqlite.__file__).parent}


@dataclass(frozen=True, slots=True)
class Check:
    """One fact, looked at: `ok` is None where it is only told.

    `query` names the statement that gave the evidence, as `file.name` of the folder `sql/` of its database.
    """

    name: str
    ok: bool | None
    evidence: str
    query: str
    database: Literal["postgres", "sqlite"] = "postgres"

    @property
    def statement(self) -> str:
        """The text of that statement, with the names that it is given in braces."""
        file, _, name = self.query.partition(".")
        text: str = getattr(load(_FOLDERS[self.database], file), name).text
        return text.strip()

    def shown(self) -> dict[str, Any]:
        """Everything about it, for JSON."""
        return asdict(self) | {"sql": self.statement}


@dataclass(frozen=True, slots=True)
class Subject:
    """A table under verification: in the plan, in the catalog before and now, and its rows by tenant."""

    connection: Connection
    plan: Plan
    table: Table
    original: facts.Table
    found: facts.Table
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

    def nobody(self) -> AbstractContextManager[Nobody]:
        """A role that is held by the table's policy and bypasses nothing, for one transaction."""
        return nobody(self.connection, self.plan, self.roles)

    def tried(self) -> str:
        """Who the sample is, for the evidence."""
        return f"{len(self.tenants.sample)} of {self.tenants.tenants} tenants"


def nobody(connection: Connection, plan: Plan, roles: tuple[str, ...] = ()) -> AbstractContextManager[Nobody]:
    """The role that tries isolation: the plan's own, or one made for the moment that is one of `roles`."""
    return verify.nobody(connection, plan.tenant.setting, roles, plan.verify.role)


def listed(things: list[str], most: int = 3) -> str:
    """The first few of them, and how many more there are."""
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return "; ".join(things[:most]) + more
