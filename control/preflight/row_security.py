"""Row-level security: the policies that are there already, and whom ours will hold."""

from collections.abc import Iterator

from control import policies
from control.plan.sections import Table as PlanTable
from control.policies import Target
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres import rls
from sql.postgres.facts import Table


def look(ground: Ground, table: PlanTable, found: Table) -> Iterator[Finding]:
    """What matters to the policy of one table; nothing where the plan has none for it."""
    if table.rls is None:
        return
    target, *under = policies.of_table(table.name, table.rls, found)
    yield _policies(target)
    # Of a thousand partitions only those are worth a line that something is to be done about.
    stands = (_policies(part) for part in under)
    yield from (finding for finding in stands if finding.level != "pass")
    if table.rls.roles:
        yield from _roles(ground, target)
    yield none_of(
        f"{target.name}: rights to TRUNCATE",
        rls.truncating_roles(ground.connection, found.oid),
        level="warn",
        way_out="it empties the table for every tenant, and no policy is asked: REVOKE TRUNCATE",
        fine="its owner's alone",
    )


def _policies(target: Target) -> Finding:
    name = f"{target.name}: policies"
    obstacles = [*policies.taken(target), *policies.in_the_way(target, target.table)]
    if obstacles:
        ways_out = dict.fromkeys(obstacle.way_out for obstacle in obstacles)
        return Finding("stop", name, "; ".join(o.fact for o in obstacles), "; ".join(ways_out))
    if not target.joined:
        return Finding("pass", name, "none yet")
    others = ", ".join(policy.name for policy in target.table.policies) or "none, so that it shows no rows"
    owner = f"; {target.owner_policy} goes on admitting its owner" if target.owner_policy else ""
    told = f"it is under row-level security already ({others}): ours will be restrictive, beside them{owner}"
    return Finding("pass", name, told)


def _roles(ground: Ground, target: Target) -> Iterator[Finding]:
    name = f"{target.name}: roles of its policy"
    roles, connection = target.security.roles, ground.connection
    missing = rls.missing_roles(connection, roles)
    if missing:
        yield Finding("stop", name, f"there is no {', '.join(missing)}", "make them, or correct the plan")
        return
    told = f"whoever is {' or '.join(roles)}"
    others = rls.roles_not_held(connection, target.table.oid, roles)
    if target.joined:
        yield none_of(
            name,
            others,
            level="warn",
            way_out="the tenant doesn't narrow what the other policies show these: name them in `roles` too",
            fine=told,
        )
    else:
        yield none_of(
            name,
            others,
            level="stop",
            way_out="they use the table, no policy would admit them, and nothing rehearses that: name them "
            "in `roles`, REVOKE their rights, or give them BYPASSRLS",
            fine=told,
        )
