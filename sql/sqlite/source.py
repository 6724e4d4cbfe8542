"""The sources of a row's tenant as SQL for a SQLite file; what they mean is what they mean in PostgreSQL.

The backfill's UPDATE, the write guard's triggers and `check` ask the same question about a row called `t`,
as it is in its table: a trigger of SQLite's can't change a row before it is written, and looks at it after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sql.errors import GivenWrongError
from sql.named import load
from sql.sqlite.names import literal, quoted
from sql.sqlite.pattern import fits
from sql.tenant_source import Constant, Expression, Lookup, Parent, TenantSource, chain, last_resort

PARTS = load(Path(__file__).parent, "source")

#: How every caller names the row whose tenant is asked for.
ROW = "t"

_NULL = "NULL"


@dataclass(frozen=True, slots=True)
class SourceSQL:
    """Fragments for `SELECT value FROM <row> AS t, {table} WHERE {resolved}`.

    `table` is None where nothing else is read from; `resolved` is false or unknown where the tenant can't be
    worked out.
    """

    value: str
    table: str | None
    resolved: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every source of a table: its own name in the plan, and what a tenant is.

    `identity` is what tells its rows: the name of the rowid, or the columns of the key. Who `walks` asks
    further up in a tree where the row above is not filled yet. A batch does. The guard lets such a row wait:
    where rows have no tenant no trigger tells on what changes above them.
    """

    table: str
    identity: tuple[str, ...]
    column: str
    sentinel: str | None
    pattern: str
    walks: bool = True

    def proper(self, value: str) -> str:
        """Whether a text is a tenant: something, and as the pattern has it. Unknown for NULL.

        Raises:
            GivenWrongError: the pattern is none that SQLite can ask; `fitting.check` says so before.
        """
        fitting = fits(value, self.pattern)
        if fitting is None:
            raise GivenWrongError(f"tenant.pattern {self.pattern!r} is none that SQLite can ask for")
        nothing = dict.fromkeys(text for text in ("", self.sentinel) if text is not None)
        return " AND ".join([*(f"{value} <> {literal(text)}" for text in nothing), fitting])

    def same(self, one: str, other: str) -> str:
        """Whether two rows of the table are the same, by their aliases."""
        return " AND ".join(f"{of(one, name)} = {of(other, name)}" for name in self.identity)

    def filled(self, alias: str) -> str:
        """Whether a row of a table of the plan has its tenant."""
        column = of(alias, self.column)
        return f"{column} IS NOT NULL" if self.sentinel is None else f"{column} <> {literal(self.sentinel)}"


def of(alias: str, name: str) -> str:
    """A column of the row with that alias."""
    return f"{alias}.{quoted(name)}"


def unfilled(tenant_column: str, sentinel: str | None, *, of_: str = ROW) -> str:
    """Whether a row still needs its tenant."""
    return f"{of(of_, tenant_column)} IS {literal(sentinel)}"


def source_sql(source: TenantSource, rules: Rules) -> SourceSQL:
    """Compose the source for a row called `t`, as it is fastest for many rows at a time.

    What is looked up in one other table and nowhere else is joined; a subquery, row by row and twice, is for
    the rest.
    """
    match source:
        case Constant(constant=constant):
            return SourceSQL(literal(constant), None, "1")
        case Expression(expression=expression, otherwise=None):
            value = text_of(expression)
            return SourceSQL(value, None, rules.proper(value))
        case Lookup(lookup=table, on=on, column=column, otherwise=None):
            value = _as_text(of("r", column))
            return SourceSQL(value, _as(table, "r"), f"{matches(on, 'r', ROW)} AND {rules.proper(value)}")
        case Parent(parent=table, on=on, otherwise=None) if table != rules.table:
            known = f"{matches(on, 'r', ROW)} AND {rules.filled('r')}"
            return SourceSQL(_as_text(of("r", rules.column)), _as(table, "r"), known)
    value = tenant_of(source, rules)
    if last_resort(source) is not None and not any(isinstance(one, Parent) for one in chain(source)):
        return SourceSQL(value, None, "1")
    return SourceSQL(value, None, f"{value} IS NOT NULL")


def tenant_of(source: TenantSource | str | None, rules: Rules) -> str:
    """Compose the tenant of one row called `t`, as a text; NULL where the source tells none."""
    match source:
        case None:
            return _NULL
        case str():
            return literal(source)
        case Constant(constant=constant):
            return literal(constant)
        case Expression(expression=expression, otherwise=otherwise):
            value = text_of(expression)
            return _or(f"CASE WHEN {rules.proper(value)} THEN {value} END", tenant_of(otherwise, rules))
        case Lookup(lookup=table, on=on, column=column, otherwise=otherwise):
            value = _as_text(of("r", column))
            known = PARTS.looked_up.filled(
                value=value, table=quoted(table), matches=matches(on, "r", ROW), known=rules.proper(value)
            )
            return _or(known, tenant_of(otherwise, rules))
        case Parent(parent=table) if table == rules.table and rules.walks:
            return _or(_above(source, rules), _of_tree(source, rules))
        case Parent(otherwise=None):
            return _above(source, rules)
        case Parent(parent=table, otherwise=otherwise):
            # `otherwise` is for a row without a parent. One whose parent is only not filled yet waits for it:
            # the guard sees such rows while the backfill is at work, and a wrong tenant would stay.
            alone = PARTS.alone.filled(table=quoted(table), matches=_is_above(source, rules))
            return _or(_above(source, rules), f"CASE WHEN {alone} THEN {tenant_of(otherwise, rules)} END")


def waits(source: TenantSource, rules: Rules) -> str:
    """Compose whether a row that is to tell the tenant of the one called `t` is there and has none yet.

    A row that nothing is told for keeps what it had; this one has no tenant again. A batch that fills what
    tells it looks for nobody who has a tenant, and what an earlier parent told would stay.
    """
    return (
        " OR ".join(
            PARTS.there.filled(
                table=quoted(one.parent),
                matches=_is_above(one, rules),
                unfilled=unfilled(rules.column, rules.sentinel, of_="r"),
            )
            for one in chain(source)
            if isinstance(one, Parent)
        )
        or "0"
    )


def _above(source: Parent, rules: Rules) -> str:
    """The tenant of the row's parent, where that is filled."""
    return PARTS.looked_up.filled(
        value=_as_text(of("r", rules.column)),
        table=quoted(source.parent),
        matches=_is_above(source, rules),
        known=rules.filled("r"),
    )


def _is_above(source: Parent, rules: Rules) -> str:
    """Whether the row called `r` is the parent of the one called `t`; no row of a tree is its own."""
    above = matches(source.on, "r", ROW)
    return f"{above} AND NOT ({rules.same('r', ROW)})" if source.parent == rules.table else above


def _of_tree(source: Parent, rules: Rules) -> str:
    """The same from the first row above that is filled; or what `otherwise` says of the topmost one."""
    keys = [f"k{at}" for at in range(len(rules.identity))]

    def is_up(alias: str) -> str:
        pairs = zip(rules.identity, keys, strict=True)
        return " AND ".join(f"{of(alias, name)} = up.{key}" for name, key in pairs)

    return PARTS.of_tree.filled(
        keys=", ".join(keys),
        start=each(ROW, rules.identity),
        next=each("r", rules.identity),
        filled=rules.filled("r"),
        value=_as_text(of("r", rules.column)),
        tree=quoted(source.parent),
        above=f"{matches(source.on, 'r', 'b')} AND NOT ({rules.same('r', 'b')})",
        b_is_up=is_up("b"),
        t_is_up=is_up(ROW),
        otherwise=tenant_of(source.otherwise, rules),
    )


def each(alias: str, names: Sequence[str]) -> str:
    """Columns of the row with that alias, one after the other."""
    return ", ".join(of(alias, name) for name in names)


def matches(on: dict[str, str], theirs: str, ours: str) -> str:
    """Compose whether the row called `theirs` is the one that the row called `ours` names."""
    return " AND ".join(f"{of(theirs, their)} = {of(ours, our)}" for our, their in on.items())


def text_of(expression: str) -> str:
    """Compose the operator's own SQL as a text; on a line of its own, for it may end in a comment."""
    return f"CAST(({expression}\n) AS TEXT)"


def _as_text(value: str) -> str:
    return f"CAST({value} AS TEXT)"


def _as(table: str, alias: str) -> str:
    return f"{quoted(table)} AS {alias}"


def _or(first: str, second: str) -> str:
    return first if second == _NULL else f"coalesce({first}, {second})"
