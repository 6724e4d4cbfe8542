"""Ways round row-level security, and what it costs: looked at only where the plan wants policies."""

from collections.abc import Iterator

from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres import preflight, surroundings


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about the tables that will have a policy."""
    connection = ground.connection
    guarded = [t.name for t in ground.plan.tables if t.rls is not None and t.name in ground.original.tables]
    if not guarded:
        return
    found = [ground.original.tables[name] for name in guarded]
    tables = preflight.trees(connection, [table.oid for table in found])
    yield none_of(
        "views past policies",
        surroundings.views_past_policies(connection, tables),
        level="warn",
        way_out="they show every tenant's rows: give a view WITH (security_invoker = true) (PostgreSQL 15) "
        "or an owner without BYPASSRLS, and take materialized views away from the application",
        fine="none reads the tables as a superuser or BYPASSRLS role",
    )
    yield none_of(
        "functions past policies",
        surroundings.functions_past_policies(connection, [table.name for table in found]),
        level="warn",
        way_out="they run as their owner, whom no policy holds: make them SECURITY INVOKER, or give them "
        "another owner",
        fine="no SECURITY DEFINER function of such a role names the tables",
    )
    yield none_of(
        "indexes lost to policies",
        surroundings.indexes_lost_to_policies(connection, tables),
        level="warn",
        way_out="their operators aren't leakproof, so that no session under a policy uses them: see that "
        "such queries find their rows by another index, the tenant's for one",
        fine="every index has a leakproof operator",
    )
