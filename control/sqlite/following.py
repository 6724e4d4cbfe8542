"""What keeps tenants right in a SQLite file while old code moves rows: those whose tenant was told follow.

Each source that reads another table has triggers on that table. They give the rows in question the tenant
that their source tells now, or refuse the change where the plan says so. Writers come one after the other, so
that no row is written meanwhile by somebody who did not see the change.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.sqlite.jobs import identity_of, rules_of
from control.sqlite.stage import Step, sentinel_of
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.guard import STATEMENTS, counted, is_same, names_of, of_rowid
from sql.sqlite.names import folded, literal, quoted
from sql.sqlite.source import each, of, tenant_of, waits
from sql.tenant_source import Lookup, Parent, chain


def fragments_of(plan: Plan, table: PlanTable, was: Table) -> dict[str, str]:
    """What the triggers of a table say of a row called `t`: what it is `told`, and what it is `given` then.

    No row `waits` where the application had the column before, whose own constraints and queries know it, nor
    where the column is to be in a key that takes no NULL.
    """
    source, rules = plan.source_of(table), rules_of(plan, table, was, walks=False)
    in_key = plan.tenant.column in (table.primary_key or ()) and (was.without_rowid or was.strict)
    never = was.column(plan.tenant.column) is not None or (in_key and rules.sentinel is None)
    said = {
        "table": quoted(was.name),
        "column": quoted(plan.tenant.column),
        "sentinel": literal(rules.sentinel),
        "told": tenant_of(source, rules),
        "waits": "0" if never else waits(source, rules),
    }
    return said | {"given": STATEMENTS.given.filled(**said)}


@dataclass(frozen=True, slots=True)
class Follower:
    """The rows of a table that take their tenant from another by one of its sources."""

    plan: Plan
    table: PlanTable
    was: Table
    source: Lookup | Parent
    at: int
    """The place of the source in its chain."""
    leader: str
    """The table that tells, as the file calls it."""

    @property
    def told_by(self) -> str:
        """The column of that table that tells."""
        return self.source.column if isinstance(self.source, Lookup) else self.plan.tenant.column

    @property
    def _identity(self) -> tuple[str, ...]:
        return identity_of(self.was)

    @property
    def is_tree(self) -> bool:
        """Whether the table is its own parent."""
        return isinstance(self.source, Parent) and self.source.parent == self.table.name

    @property
    def trigger(self) -> str:
        """The trigger for what changes in the leader."""
        return f"tenantry_follow_{self.at}_{self.was.name}"

    @property
    def trigger_of_new(self) -> str:
        """The trigger for new rows of the leader."""
        return f"tenantry_follow_new_{self.at}_{self.was.name}"

    def followed(self, *rows: str) -> str:
        """What a trigger does for the rows that name one of `rows` (NEW, OLD) of the leader."""
        named = " OR ".join(f"({self._names(row)})" for row in rows)
        parts = fragments_of(self.plan, self.table, self.was) | {
            "named": f"({named})",
            "identity": names_of(self._identity),
            "t_identity": each("t", self._identity),
        }
        refusal = ""
        if self.plan.tenant.moves == "refuse":
            refused = (
                f"rows of {self.table.name} belong to another tenant than what tells theirs in {self.leader} "
                'would; the plan of the migration says moves = "refuse"'
            )
            refusal = f"{STATEMENTS.refuse.filled(refused=literal(refused), **parts)};\n  "
        followed = self._down(parts) if self.is_tree else self._direct(parts)
        return f"{refusal}{followed};\n  {counted(STATEMENTS.count_if, self.was.name)}"

    def _direct(self, parts: dict[str, str]) -> str:
        itself = is_same("t", quoted(self.was.name), self._identity)
        return STATEMENTS.follow.filled(t_is_it=itself, **parts)

    def _down(self, parts: dict[str, str]) -> str:
        identity = self._identity
        keys = [f"k{at}" for at in range(len(identity))]

        def is_in(alias: str, of_: str) -> str:
            pairs = zip(identity, keys, strict=True)
            return " AND ".join(f"{alias}.{quoted(name)} = {of_}.{key}" for name, key in pairs)

        down = STATEMENTS.down.filled(
            keys=", ".join(keys),
            c_identity=each("c", identity),
            b_is_down=is_in("b", "down"),
            c_below_b=" AND ".join(
                f"{of('b', theirs)} = {of('c', ours)}" for ours, theirs in self.source.on.items()
            ),
            **parts,
        )
        return STATEMENTS.follow_down.filled(
            down=down, d_is_it=is_in(quoted(self.was.name), "d"), t_is_d=is_in("t", "d"), **parts
        )

    def _names(self, row: str) -> str:
        return " AND ".join(
            f"{row}.{quoted(theirs)} = {of('t', ours)}" for ours, theirs in self.source.on.items()
        )

    @property
    def changed(self) -> str:
        """Another key, or another tenant; but not the first one, from a batch: its children have none yet.

        Elsewhere they may have one: what `otherwise` said, before there was a row that tells.
        """
        told = quoted(self.told_by)
        other = f"OLD.{told} IS NOT NEW.{told}"
        if isinstance(self.source, Parent):
            first = STATEMENTS.first_tenant_told.filled()
            other = f"({other} AND (OLD.{told} IS NOT {literal(sentinel_of(self.plan))} OR {first}))"
        moved = (f"OLD.{quoted(name)} IS NOT NEW.{quoted(name)}" for name in self.source.on.values())
        return " OR ".join([other, *moved])

    @property
    def has_tenant(self) -> str:
        """Whether a new row of the leader tells a tenant at once, and not only once it is given its own."""
        if isinstance(self.source, Lookup):
            return "1"
        return f"NEW.{quoted(self.told_by)} IS NOT {literal(sentinel_of(self.plan))}"


def followers(plan: Plan, original: Catalog) -> Iterator[Follower]:
    """List those of a plan."""
    for table in plan.tables:
        for at, source in enumerate(chain(table.tenant)):
            if isinstance(source, Lookup | Parent) and _may_move(plan, source):
                leader = source.parent if isinstance(source, Parent) else source.lookup
                found = original.find(leader)
                name = leader if found is None else found.name
                yield Follower(plan, table, original.table(table.name), source, at, name)


def _may_move(plan: Plan, source: Lookup | Parent) -> bool:
    """Whether what tells may change: the rows of a table with a constant tenant all have that."""
    return isinstance(source, Lookup) or plan.table(source.parent).constant is None


def of_new(plan: Plan, original: Catalog, table: str) -> str:
    """What the guard of a table does besides, once it has given a new row its tenant."""
    return "".join(
        f"\n  {one.followed('NEW')}"
        for one in followers(plan, original)
        if isinstance(one.source, Parent) and folded(one.leader) == folded(table)
    )


def put(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Put every follower in its place."""
    for one in followers(plan, original):
        leader = original.table(one.leader)
        watched = [one.told_by, *one.source.on.values()]
        yield Step(
            what=f"{one.leader}: {one.table.name} follows it",
            statements=(
                STATEMENTS.create_follow_trigger.filled(
                    trigger=quoted(one.trigger),
                    watched=", ".join(map(quoted, [*watched, *of_rowid(leader, watched)])),
                    leader=quoted(leader.name),
                    changed=one.changed,
                    followed=one.followed("NEW", "OLD"),
                ),
                STATEMENTS.create_follow_trigger_of_new.filled(
                    trigger=quoted(one.trigger_of_new),
                    leader=quoted(leader.name),
                    has_tenant=one.has_tenant,
                    followed=one.followed("NEW"),
                ),
            ),
            done=lambda live, one=one: {one.trigger, one.trigger_of_new} <= live.ours.keys(),  # type: ignore[misc]
        )


def drop(plan: Plan, original: Catalog) -> Iterator[Step]:
    """Take every follower away."""
    for one in followers(plan, original):
        for trigger in (one.trigger, one.trigger_of_new):
            yield Step(
                what=f"{one.leader}: drop {trigger}",
                statements=(STATEMENTS.drop_trigger.filled(trigger=quoted(trigger)),),
                done=lambda live, trigger=trigger: trigger not in live.ours,  # type: ignore[misc]
            )
