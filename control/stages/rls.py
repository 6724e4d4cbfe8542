"""Row-level security, switched on in a way that can be rehearsed.

Every table starts in `observe`: sessions without a tenant still see every row that they saw, and each such
access is counted. `permissive` shows them the legacy tenant, `strict` nothing, and goes on counting. Strict
stands behind a gate of its own inside the stage (`control.unscoped`): a time without an unscoped access, or
the operator's word.

A table that is under row-level security already keeps its policies, and is never without them: see
`control.policies` for how ours is put beside them. Of a partitioned table each partition gets the policy too:
who asks a partition by its own name is held by that one's policies alone.
"""

from collections.abc import Callable, Iterator

from psycopg import sql

from control import policies
from control.plan.model import Plan
from control.plan.sections import Mode
from control.plan.values import seconds
from control.policies import Target, has_form
from control.stage import Closed, Ground, How, Step
from control.unscoped import STAGE_NAME, QuietTime
from sql.postgres import catalog, rls
from sql.postgres.facts import Catalog

LOCK = "ACCESS EXCLUSIVE"


class RowLevelSecurity:
    """The stage `rls`."""

    name = STAGE_NAME

    def gate(self, ground: Ground) -> Closed | None:
        """Policies that somebody made since preflight looked; the gate before strict is `await_quiet`."""
        live = catalog.read(ground.connection, [table.name for table in ground.plan.tables])
        found = [
            (f"{target.name}: {obstacle.fact}", obstacle.way_out)
            for target in policies.targets(ground.plan, ground.original)
            if (target.part_of or target.name) in live.tables and (now := target.find(live)) is not None
            for obstacle in policies.in_the_way(target, now)
        ]
        if not found:
            return None
        return Closed(tuple(fact for fact, _ in found), "; ".join(dict.fromkeys(way for _, way in found)))

    def amended(self, ground: Ground) -> bool:
        """Whether `mode` or `roles` of the plan are others than those of the policies."""
        live = catalog.read(ground.connection, [table.name for table in ground.plan.tables])
        return any(
            (target.part_of or target.name) in live.tables
            and not has_form(ground.plan, live, target, target.security.mode)
            for target in policies.targets(ground.plan, ground.original)
        )

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Count, observe, and go on to the mode where the plan ends; one table per transaction."""
        targets = policies.targets(plan, original)
        if not targets:
            return
        yield from _counting(plan, targets)
        for target in targets:
            yield from _admits_owner(target)
            yield _policy(plan, target)
            yield _enabled(target)
        for target in targets:
            yield from _walk(plan, target)
        if all(t.security.mode == "permissive" for t in targets):
            yield from _uncounted()

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Off first, so that no table is ever left showing no rows; then the policies and what they call.

        Where others' policies stood before, nothing goes off: ours goes, and theirs hold as they did.
        """
        targets = policies.targets(plan, original)
        for target in targets:
            if target.joined:
                yield _dropped(target, target.security.policy)
                yield from _frees_owner(target)
            else:
                yield _disabled(target)
                yield _dropped(target, target.security.policy)
        if targets:
            yield from _uncounted()


STAGE = RowLevelSecurity()


def _counting(plan: Plan, targets: list[Target]) -> Iterator[Step]:
    def settled(catalog: Catalog) -> bool:
        return all(
            t.security.mode == "permissive" and has_form(plan, catalog, t, "permissive") for t in targets
        )

    yield Step(
        what="a schema of its own for what policies call",
        statement=rls.STATEMENTS.create_schema.compose(),
        lock="none",
        done=lambda catalog: rls.SCHEMA in catalog.schemas or settled(catalog),
        how=How.PLAIN,
    )
    tables = sql.SQL(", ").join(sql.Literal(target.table.identifier.as_string()) for target in targets)
    yield Step(
        what="count accesses by sessions without a tenant",
        statement=rls.STATEMENTS.create_function.compose(tables=tables),
        lock="none",
        done=lambda catalog: _counts(catalog) or settled(catalog),
        how=How.PLAIN,
    )


def _counts(catalog: Catalog) -> bool:
    return rls.FUNCTION in catalog.functions


def _uncounted() -> Iterator[Step]:
    # Another migration of this database may observe by the same function.
    def idle(ground: Ground) -> bool:
        return not rls.called(ground.connection)

    yield Step(
        what="no policy counts any more",
        statement=rls.STATEMENTS.drop_function.compose(),
        lock="none",
        done=lambda catalog: not _counts(catalog),
        how=How.PLAIN,
        gate=idle,
    )
    yield Step(
        what=f"schema {rls.SCHEMA} is empty: away with it",
        statement=rls.STATEMENTS.drop_schema.compose(),
        lock="none",
        done=lambda catalog: rls.SCHEMA not in catalog.schemas,
        how=How.PLAIN,
        gate=idle,
    )


def _admits_owner(target: Target) -> Iterator[Step]:
    name = target.owner_policy
    if name is None:
        return
    yield Step(
        what=f"{target.name}: policy {name}, by which its owner goes on being admitted",
        statement=rls.STATEMENTS.create_owner_policy.compose(
            policy=sql.Identifier(name),
            table=target.table.identifier,
            owner=sql.Identifier(target.table.owner),
        ),
        lock=LOCK,
        done=lambda live: (now := target.find(live)) is None or now.policy(name) is not None,
        tables=(target.table.identifier,),
    )


def _policy(plan: Plan, target: Target) -> Step:
    policy = target.security.policy
    beside = ", beside those that are there," if target.joined else ","
    return Step(
        what=f"{target.name}: policy {policy}{beside} in the form that only observes",
        statement=rls.STATEMENTS.create_policy.compose(
            policy=sql.Identifier(policy),
            table=target.table.identifier,
            kind=sql.SQL("RESTRICTIVE" if target.joined else "PERMISSIVE"),
            roles=rls.roles(target.security.roles),
            expression=policies.expression(plan, "observe"),
        ),
        lock=LOCK,
        done=lambda live: (now := target.find(live)) is None or now.policy(policy) is not None,
        tables=(target.table.identifier,),
    )


def _enabled(target: Target) -> Step:
    def done(catalog: Catalog) -> bool:
        table = target.find(catalog)
        return table is None or (table.row_security and table.forced)

    return Step(
        what=f"{target.name}: row-level security on, for its owner too",
        statement=rls.STATEMENTS.enable.compose(table=target.table.identifier),
        lock=LOCK,
        done=done,
        tables=(target.table.identifier,),
    )


def _walk(plan: Plan, target: Target) -> Iterator[Step]:
    """From whatever form the policy has to the mode of the plan; to strict only by way of observing."""
    mode = target.security.mode
    if mode != "strict":
        yield _altered(plan, target, mode, already=(mode,))
        return
    # A plan that said permissive before: its policy doesn't count, and the quiet time would prove nothing.
    yield _altered(plan, target, "observe", already=("observe", "strict"))
    quiet = QuietTime(seconds(target.security.quiet))
    yield _altered(plan, target, "strict", already=("strict",), gate=quiet)


def _altered(
    plan: Plan,
    target: Target,
    mode: Mode,
    *,
    already: tuple[Mode, ...],
    gate: Callable[[Ground], bool] | None = None,
) -> Step:
    policy = target.security.policy
    return Step(
        what=f"{target.name}: policy {policy} becomes {mode}",
        statement=rls.STATEMENTS.alter_policy.compose(
            policy=sql.Identifier(policy),
            table=target.table.identifier,
            roles=rls.roles(target.security.roles),
            expression=policies.expression(plan, mode),
        ),
        lock=LOCK,
        done=lambda catalog: has_form(plan, catalog, target, *already),
        tables=(target.table.identifier,),
        gate=gate,
    )


def _disabled(target: Target) -> Step:
    def done(catalog: Catalog) -> bool:
        table = target.find(catalog)
        return table is None or (not table.row_security and table.forced == target.table.forced)

    statements = rls.STATEMENTS
    # FORCE alone has no effect, and may have been left by somebody: it stays.
    off = statements.disable_only if target.table.forced else statements.disable
    return Step(
        what=f"{target.name}: row-level security off",
        statement=off.compose(table=target.table.identifier),
        lock=LOCK,
        done=done,
        tables=(target.table.identifier,),
    )


def _frees_owner(target: Target) -> Iterator[Step]:
    if target.owner_policy is None:
        return
    yield Step(
        what=f"{target.name}: row-level security no longer for its owner",
        statement=rls.STATEMENTS.no_force.compose(table=target.table.identifier),
        lock=LOCK,
        done=lambda live: (now := target.find(live)) is None or not now.forced,
        tables=(target.table.identifier,),
    )
    yield _dropped(target, target.owner_policy)


def _dropped(target: Target, policy: str) -> Step:
    return Step(
        what=f"{target.name}: drop policy {policy}",
        statement=rls.STATEMENTS.drop_policy.compose(
            policy=sql.Identifier(policy), table=target.table.identifier
        ),
        lock=LOCK,
        done=lambda live: (now := target.find(live)) is None or now.policy(policy) is None,
        tables=(target.table.identifier,),
    )
