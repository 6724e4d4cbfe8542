"""Row-level security, switched on in a way that can be rehearsed.

Every table starts in `observe`: sessions without a tenant still see every row, and each such access is
counted. `permissive` shows them the legacy tenant, `strict` nothing. Strict stands behind a gate of its own
inside the stage: a quiet time without one unscoped access, or the operator's word.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from control import retiring
from control.plan.model import Mode, Plan, RowSecurity
from control.plan.values import seconds
from control.quiet import since
from control.stage import Closed, Ground, How, Step
from sql.errors import GateClosedError
from sql.postgres import rls
from sql.postgres.catalog import Catalog, Table

#: Where the ledger keeps since when it has been quiet.
MEMORY = "rls.unscoped"
#: How many quiet times a run waits before it leaves the gate closed.
PATIENCE = 3
#: Seconds between two looks.
POLL = 0.5
#: An idle session reports its statistics this late.
REPORTED_LATE = timedelta(seconds=10)
LOCK = "ACCESS EXCLUSIVE"


@dataclass(frozen=True, slots=True)
class _Target:
    """A table that gets a policy: as the plan names it, its policy, and the table before the migration."""

    name: str
    security: RowSecurity
    table: Table


def _targets(plan: Plan, original: Catalog) -> list[_Target]:
    return [
        _Target(t.name, t.rls, original.tables[t.name])
        for t in plan.tables
        if t.rls is not None and t.name in original.tables
    ]


def expression(plan: Plan, mode: Mode) -> sql.Composed:
    """The policy's expression in the form of `mode`, for this plan."""
    tenant = plan.tenant
    return rls.expression(mode, column=tenant.column, setting=tenant.setting, legacy=tenant.legacy)


def has_form(plan: Plan, catalog: Catalog, table: str, policy: str, *modes: Mode) -> bool:
    """Whether the table's policy has one of these forms now."""
    found = catalog.tables[table].policy(policy)
    return found is not None and any(rls.says(found, expression(plan, mode)) for mode in modes)


class RowLevelSecurity:
    """The stage `rls`."""

    name = "rls"

    def gate(self, ground: Ground) -> Closed | None:  # noqa: ARG002  # its gate stands before a step, not before the stage
        """Observing may always begin; the gate before strict is `await_quiet`."""
        return None

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Count, observe, and go on to the mode where the plan ends; one table per transaction."""
        targets = _targets(plan, original)
        if not targets:
            return
        yield from _counting(plan, targets)
        for target in targets:
            yield _policy(plan, target)
            yield _enabled(target)
        for target in targets:
            yield from _walk(plan, target)
        if all(t.security.mode != "observe" for t in targets):
            yield from _uncounted()

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Off first, so that no table is ever left showing no rows; then the policies and what they call."""
        targets = _targets(plan, original)
        for target in targets:
            yield _disabled(target)
            yield _dropped(target)
        if targets:
            yield from _uncounted()


STAGE = RowLevelSecurity()


def _counting(plan: Plan, targets: list[_Target]) -> Iterator[Step]:
    def settled(catalog: Catalog) -> bool:
        return all(
            t.security.mode != "observe"
            and has_form(plan, catalog, t.name, t.security.policy, t.security.mode)
            for t in targets
        )

    yield Step(
        what="a schema of its own for what policies call",
        statement=rls.STATEMENTS.create_schema.compose(),
        lock="none",
        done=lambda catalog: rls.SCHEMA in catalog.schemas or settled(catalog),
        how=How.PLAIN,
    )
    yield Step(
        what="count accesses by sessions without a tenant",
        statement=rls.STATEMENTS.create_function.compose(),
        lock="none",
        done=lambda catalog: _counts(catalog) or settled(catalog),
        how=How.PLAIN,
    )


def _counts(catalog: Catalog) -> bool:
    return any(name.removesuffix("()") == rls.FUNCTION for name in catalog.functions)


def _uncounted() -> Iterator[Step]:
    yield Step(
        what="no policy counts any more",
        statement=rls.STATEMENTS.drop_function.compose(),
        lock="none",
        done=lambda catalog: not _counts(catalog),
        how=How.PLAIN,
    )
    yield Step(
        what=f"schema {rls.SCHEMA} is empty: away with it",
        statement=rls.STATEMENTS.drop_schema.compose(),
        lock="none",
        done=lambda catalog: rls.SCHEMA not in catalog.schemas,
        how=How.PLAIN,
    )


def _policy(plan: Plan, target: _Target) -> Step:
    policy = target.security.policy
    return Step(
        what=f"{target.name}: policy {policy}, in the form that only observes",
        statement=rls.STATEMENTS.create_policy.compose(
            policy=sql.Identifier(policy),
            table=target.table.identifier,
            expression=expression(plan, "observe"),
        ),
        lock=LOCK,
        done=lambda catalog: catalog.tables[target.name].policy(policy) is not None,
        tables=(target.table.identifier,),
    )


def _enabled(target: _Target) -> Step:
    def done(catalog: Catalog) -> bool:
        table = catalog.tables[target.name]
        return table.row_security and table.forced

    return Step(
        what=f"{target.name}: row-level security on, for its owner too",
        statement=rls.STATEMENTS.enable.compose(table=target.table.identifier),
        lock=LOCK,
        done=done,
        tables=(target.table.identifier,),
    )


def _walk(plan: Plan, target: _Target) -> Iterator[Step]:
    """From whatever form the policy has to the mode of the plan; to strict only by way of observing."""
    mode = target.security.mode
    if mode != "strict":
        yield _altered(plan, target, mode, already=(mode,))
        return
    # A plan that said permissive before: its policy doesn't count, and the quiet time would prove nothing.
    yield _altered(plan, target, "observe", already=("observe", "strict"))
    quiet = seconds(target.security.quiet)
    yield _altered(
        plan, target, "strict", already=("strict",), gate=lambda ground: await_quiet(ground, quiet)
    )


def _altered(
    plan: Plan,
    target: _Target,
    mode: Mode,
    *,
    already: tuple[Mode, ...],
    gate: Callable[[Ground], bool] | None = None,
) -> Step:
    policy = target.security.policy
    return Step(
        what=f"{target.name}: policy {policy} becomes {mode}",
        statement=rls.STATEMENTS.alter_policy.compose(
            policy=sql.Identifier(policy), table=target.table.identifier, expression=expression(plan, mode)
        ),
        lock=LOCK,
        done=lambda catalog: has_form(plan, catalog, target.name, policy, *already),
        tables=(target.table.identifier,),
        gate=gate,
    )


def _disabled(target: _Target) -> Step:
    return Step(
        what=f"{target.name}: row-level security off",
        statement=rls.STATEMENTS.disable.compose(table=target.table.identifier),
        lock=LOCK,
        done=lambda catalog: (
            not (catalog.tables[target.name].row_security or catalog.tables[target.name].forced)
        ),
        tables=(target.table.identifier,),
    )


def _dropped(target: _Target) -> Step:
    policy = target.security.policy
    return Step(
        what=f"{target.name}: drop policy {policy}",
        statement=rls.STATEMENTS.drop_policy.compose(
            policy=sql.Identifier(policy), table=target.table.identifier
        ),
        lock=LOCK,
        done=lambda catalog: catalog.tables[target.name].policy(policy) is None,
        tables=(target.table.identifier,),
    )


def await_quiet(ground: Ground, quiet: float) -> bool:
    """Wait for `quiet` seconds without one unscoped access, at most three times as long.

    What was counted, and since when it is quiet, is in the ledger: a controller that is started again goes
    on waiting where the last one was.

    Raises:
        GateClosedError: it isn't quiet, or can't be known to be, and the operator hasn't confirmed `rls`.
        CatalogError: the function that counts isn't there.
    """
    until = time.monotonic() + PATIENCE * quiet
    who: list[str] = []
    said: datetime | None = None
    while STAGE.name not in ground.confirmed:
        # The write guard's quiet runs beside this one: `verify` asks for it next.
        retiring.observe(ground)
        count = rls.unscoped_accesses(ground.connection)
        seen = since(ground.memory, MEMORY, {"calls": count.calls, "by": count.counted_by}, count.now)
        if seen.broken:
            who = [str(found) for found in rls.sessions(ground.connection, count.now - REPORTED_LATE)]
        left = quiet - (count.now - seen.since).total_seconds()
        lasting = _lasting(ground, count)
        if left <= 0 and not lasting:
            return True
        passing = f"{count.calls} unscoped accesses counted, none since {seen.since:%Y-%m-%d %H:%M:%S %z}"
        facts = [*lasting, passing, *([f"at work around the last one: {', '.join(who)}"] if who else [])]
        if lasting or time.monotonic() >= until:
            raise GateClosedError(STAGE.name, facts, _opens(quiet, lasting=bool(lasting)))
        if seen.since != said:
            ground.notify(f"rls: {'; '.join(facts)}; strict in {left:.0f} s if it stays quiet")
            said = seen.since
        time.sleep(min(left, POLL))
    ground.notify("rls: strict, as the operator confirmed")
    return True


def _lasting(ground: Ground, count: rls.Count) -> list[str]:
    """What keeps strict closed and won't change by waiting."""
    facts = [
        f"{bridge.role} begins its sessions as {bridge.tenant!r} (ALTER ROLE or DATABASE … SET): "
        "unscoped code there isn't counted"
        for bridge in rls.bridged_roles(ground.connection, ground.plan.tenant.setting)
    ]
    if not count.counting:
        facts.append("unscoped access can't be counted: track_functions is off and this role may not set it")
    return facts


def _opens(quiet: float, *, lasting: bool) -> str:
    if lasting:
        return "Mend that, or open it with `tenantry confirm rls`"
    return f"`tenantry run` opens it after {quiet:g} s without one; `tenantry confirm rls` opens it now"
