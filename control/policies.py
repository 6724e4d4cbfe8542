"""What policy a table gets, and how it goes together with those that the table has already.

A table that isn't under row-level security gets a policy that admits the tenant's rows. One that is has
policies by which others already decide who sees what: a further permissive policy would show every row of a
tenant to whoever they keep out. There ours is RESTRICTIVE: it admits nothing, and lets through only what they
admit and is the tenant's. Where the table's owner was not held (no FORCE), a policy of its own admits the
owner as before, and ours narrows that.
"""

from dataclasses import dataclass

from psycopg import sql

from control import names
from control.plan.model import Plan
from control.plan.sections import Mode, RowSecurity
from sql.postgres import rls
from sql.postgres.facts import Catalog, Policy, Table


@dataclass(frozen=True, slots=True)
class Target:
    """A table that gets a policy: as the plan names it, its policy, and the table before the migration.

    `part_of` is the plan's name of the partitioned table that this is a partition of: who asks a partition by
    its own name is held by its own policies alone, and who asks the whole by the whole's.
    """

    name: str
    security: RowSecurity
    table: Table
    part_of: str | None = None

    def find(self, live: Catalog) -> Table | None:
        """The table as it is now; None for a partition that is none any more."""
        if self.part_of is None:
            return live.table(self.name)
        top, named = live.table(self.part_of), (self.table.schema_, self.table.name)
        return next((p for p in (*top.branches, *top.partitions) if (p.schema_, p.name) == named), None)

    @property
    def joined(self) -> bool:
        """Whether the table was under row-level security before."""
        return self.table.row_security

    @property
    def owner_policy(self) -> str | None:
        """The name of the policy that goes on admitting the owner; None where the owner needs none."""
        return names.owner_policy(self.security.policy) if self.joined and not self.table.forced else None

    @property
    def ours(self) -> set[str]:
        """The names of the policies that the migration makes."""
        return {self.security.policy, *([self.owner_policy] if self.owner_policy else [])}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a policy can't be put beside those of the table, and what leads out."""

    fact: str
    way_out: str


def targets(plan: Plan, original: Catalog) -> list[Target]:
    """The tables that get a policy, in the plan's order; after a partitioned one its partitions."""
    found: list[Target] = []
    for table in plan.tables:
        if table.rls is not None and table.name in original.tables:
            found += of_table(table.name, table.rls, original.tables[table.name])
    return found


def of_table(name: str, security: RowSecurity, was: Table) -> list[Target]:
    """The targets that one table of the plan comes to."""
    parts = (*was.branches, *was.partitions)
    under = [Target(f"{name}, {p.identifier.as_string()}", security, p, part_of=name) for p in parts]
    return [Target(name, security, was), *under]


def expression(plan: Plan, mode: Mode) -> sql.Composed:
    """The policy's expression in the form of `mode`, for this plan."""
    tenant = plan.tenant
    return rls.expression(mode, column=tenant.column, setting=tenant.setting, legacy=tenant.legacy)


def has_form(plan: Plan, catalog: Catalog, target: Target, *modes: Mode) -> bool:
    """Whether the table's policy has one of these forms now, for the roles of the plan.

    Also where a partition is none any more: nothing is to be done there.
    """
    table = target.find(catalog)
    if table is None:
        return True
    found = table.policy(target.security.policy)
    return found is not None and any(
        rls.says(found, expression(plan, mode), roles=target.security.roles, permissive=not target.joined)
        for mode in modes
    )


def taken(target: Target) -> list[Obstacle]:
    """What had the name of one of ours before the migration."""
    return [
        Obstacle(f"policy {name} is there already", "name another `policy` in the plan's `rls`")
        for name in sorted(target.ours)
        if target.table.policy(name) is not None
    ]


def in_the_way(target: Target, found: Table) -> list[Obstacle]:
    """What among the policies of the table, before the migration or now, makes joining them unsafe."""
    others = [policy for policy in found.policies if policy.name not in target.ours]
    if others and not target.joined:
        return [
            Obstacle(
                f"row-level security is off, and {_named(others)} would come into force with it",
                "DROP POLICY, or ENABLE ROW LEVEL SECURITY and see that the application runs under it",
            )
        ]
    narrowing = [policy for policy in others if not policy.permissive]
    if narrowing and target.owner_policy is not None:
        return [
            Obstacle(
                f"{_named(narrowing)} is restrictive and, once row-level security is forced, may hold "
                f"{found.owner} too, who owns the table and was free of it",
                "FORCE ROW LEVEL SECURITY yourself and see that the application runs under it",
            )
        ]
    return []


def _named(policies: list[Policy]) -> str:
    return f"policy {', '.join(policy.name for policy in policies)}"
