"""Composes the statements of one batch and of paging for a job on a SQLite file.

Bounds are kept and sent as SQL literals, as `quote()` writes them: they are the very values that the rows
have, whatever their type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sql.job import JobSpec, Key, KeyColumn, Range
from sql.named import Statement, load
from sql.sqlite.connection import File
from sql.sqlite.facts import Table
from sql.sqlite.names import literal, quoted, written
from sql.sqlite.source import PARTS, Rules, SourceSQL, of, source_sql, unfilled

BATCH = load(Path(__file__).parent, "batch")
PAGING = load(Path(__file__).parent, "paging")

#: The type, in a job, of what is no column but tells a row all the same.
ROWID = "rowid"


def key_of(file: File, table: Table) -> tuple[KeyColumn, ...]:
    """What a table's rows are told and paged by: its rowid, or the key of one without; empty for neither.

    A key may be kept in another order than its columns are compared in (`PRIMARY KEY (a COLLATE NOCASE)`);
    then its collations are named.
    """
    if not table.without_rowid:
        name = table.rowid or table.rowid_alias
        return () if name is None else (KeyColumn(name=name, type=ROWID),)
    rows = file.rows(PAGING.key_order.filled(), {"table": table.name})
    plain = tuple(KeyColumn(name=row["name"], type="") for row in rows)
    if _walks(file, table.name, plain):
        return plain
    return tuple(KeyColumn(name=row["name"], type="", collation=row["collation"]) for row in rows)


def primary_key_at(file: File, table: str, rowid: str, at: int) -> dict[str, str]:
    """A row's primary key as SQL literals, by column; `rowid` is what its table calls that.

    Empty where the row or the table is gone, or has no such key.
    """
    key = [KeyColumn(**row) for row in file.rows(PAGING.primary_key.filled(), {"table": table})]
    if not key:
        return {}
    values = ", ".join(map(_literal, key))
    statement = PAGING.at.filled(key=values, table=quoted(table), rowid=of("t", rowid))
    row = file.execute(statement, {"rowid": at}).fetchone()
    return {} if row is None else dict(zip((column.name for column in key), row, strict=True))


def _walks(file: File, table: str, key: Sequence[KeyColumn]) -> bool:
    """Whether ranges of these columns, and their order, are those of the table itself."""
    order = ", ".join(map(_ordered, key))
    range_ = f"{_row([_ordered(column) for column in key])} > {_row(['0'] * len(key))}"
    plan = file.rows(PAGING.walked.filled(table=quoted(table), range=range_, order=order))
    return len(plan) == 1 and "SEARCH" in plan[0]["detail"]


def _ordered(column: KeyColumn) -> str:
    name = of("t", column.name)
    return name if column.collation is None else f"{name} COLLATE {quoted(column.collation)}"


def _row(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def _literal(column: KeyColumn) -> str:
    """A column's value as SQL writes it."""
    name = of("t", column.name)
    return f"quote({name})" if column.type == ROWID else written(name)


@dataclass(frozen=True, slots=True)
class JobSQL:
    """A job's statements."""

    spec: JobSpec

    @property
    def rules(self) -> Rules:
        """What holds for its source."""
        spec = self.spec
        identity = tuple(column.name for column in spec.key)
        return Rules(spec.named, identity, spec.tenant_column, spec.sentinel, spec.pattern)

    @property
    def _table(self) -> str:
        return quoted(self.spec.table)

    @property
    def _by_rowid(self) -> str:
        """What keeps a batch from walking the table by an index on something else."""
        return " NOT INDEXED" if self.spec.key[0].type == ROWID else ""

    @property
    def unfinished(self) -> str:
        """Whether a row called `t` is still to be written."""
        spec = self.spec
        if spec.reset:
            return f"{of('t', spec.tenant_column)} IS NOT {literal(spec.sentinel)}"
        return unfilled(spec.tenant_column, spec.sentinel)

    @property
    def _source(self) -> SourceSQL:
        if self.spec.reset:
            return SourceSQL(literal(self.spec.sentinel), None, "1")
        return source_sql(self.spec.source, self.rules)

    @property
    def key(self) -> str:
        """What tells a row called `t`, as SQL literals, in columns `k0`, `k1` and so on."""
        return ", ".join(f"{_literal(column)} AS k{at}" for at, column in enumerate(self.spec.key))

    @property
    def _texts(self) -> str:
        return ", ".join(map(_literal, self.spec.key))

    @property
    def _order(self) -> str:
        return ", ".join(map(_ordered, self.spec.key))

    @property
    def _backwards(self) -> str:
        return ", ".join(f"{_ordered(column)} DESC" for column in self.spec.key)

    def _compared(self, sign: str, key: Key) -> str:
        return f"{_row([_ordered(column) for column in self.spec.key])} {sign} {_row(key)}"

    def _between(self, lower: Key | None, upper: Key) -> str:
        upto = self._compared("<=", upper)
        return upto if lower is None else f"{self._compared('>', lower)} AND {upto}"

    def _of_range(self, statement: Statement, range_: Range, **more: str) -> str:
        return statement.filled(
            table=self._table,
            by_rowid=self._by_rowid,
            range=self._between(range_.lower, range_.upper),
            # Unary plus: the range is walked, never an index on the tenant.
            unfinished=f"+{self.unfinished}",
            **more,
        )

    def fill(self, range_: Range) -> str:
        """The batch's one UPDATE."""
        source = self._source
        return self._of_range(
            BATCH.fill,
            range_,
            tenant=quoted(self.spec.tenant_column),
            value=source.value,
            source="" if source.table is None else f" FROM {source.table}",
            resolved=source.resolved,
        )

    def explained(self, range_: Range) -> str:
        """What compiles the batch's UPDATE, and its triggers, without doing it."""
        return BATCH.explain.filled(statement=self.fill(range_))

    def fill_all(self) -> str:
        """The UPDATE of every batch in one, for a script."""
        source = self._source
        return BATCH.fill.filled(
            table=self._table,
            by_rowid=self._by_rowid,
            range="1",
            unfinished=f"+{self.unfinished}",
            tenant=quoted(self.spec.tenant_column),
            value=source.value,
            source="" if source.table is None else f" FROM {source.table}",
            resolved=source.resolved,
        )

    def left(self, range_: Range) -> str:
        """How many rows of a range are still to be written."""
        return self._of_range(BATCH.left, range_)

    def middle(self, range_: Range) -> str:
        """The key of one of those, in their order. Parameters: before (how many are)."""
        return self._of_range(BATCH.middle, range_, key=self.key, order=self._order)

    def last_key(self) -> str:
        """The highest key of the table now."""
        return PAGING.last_key.filled(key=self.key, table=self._table, backwards=self._backwards)

    def edge(self, lower: Key | None, last: Key) -> str:
        """A key above `lower`, not above `last`. Parameters: between (rows between `lower` and it)."""
        return PAGING.edge.filled(
            key=self.key,
            order=self._order,
            table=self._table,
            by_rowid=self._by_rowid,
            range=self._between(lower, last),
        )

    def count_rows(self) -> str:
        """How many rows the table has."""
        return PAGING.count_rows.filled(table=self._table)

    def unfilled(self) -> str:
        """How many rows are still to be written, quarantined ones among them."""
        return PAGING.unfilled.filled(table=self._table, unfinished=self.unfinished)

    def unknown(self) -> str:
        """The keys of rows whose source gives them no tenant, but those set aside. Parameters: job, most."""
        return self._left(f"NOT {self._known}")

    def sweep(self, *, ask: bool = True) -> str:
        """The keys of rows that could have their tenant and don't, in order. Parameters: job, most.

        Without `ask` the source is not asked: those too that it gives no tenant, or fails for.
        """
        return self._left(self._known if ask else "1")

    @property
    def _known(self) -> str:
        source = self._source
        tables = "" if source.table is None else f" FROM {source.table}"
        return PARTS.known.filled(source=tables, resolved=source.resolved)

    def _left(self, wanted: str) -> str:
        return PAGING.left.filled(
            key=self.key,
            texts=self._texts,
            table=self._table,
            unfinished=self.unfinished,
            wanted=wanted,
            order=self._order,
        )

    def set_aside(self, key: Key) -> str:
        """Put a row into the quarantine for that its source gives it no tenant. Parameters: job, key, now."""
        return PAGING.set_aside.filled(
            table=self._table, is_it=self._compared("=", key), unfinished=self.unfinished
        )

    def below(self, key: Key) -> str:
        """The key right below another."""
        return PAGING.below.filled(
            key=self.key,
            table=self._table,
            range=self._compared("<", key),
            backwards=self._backwards,
        )
