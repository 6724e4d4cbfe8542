"""Composes the statements of one batch and of paging for a job.

Everything that depends on the job is composed once; a batch brings only parameters, so that its
statement is prepared once per connection. Bounds travel as text and are cast by the server to the key's
type, with the DateStyle and the like that every connection of ours sets.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from psycopg import sql

from sql.job import JobSpec, Key, KeyColumn, Range
from sql.named import Statement, load, plain
from sql.postgres.connection import Connection
from sql.tenant_source import ROW, source_sql, unfilled

BATCH = load(Path(__file__).parent, "batch")
PAGING = load(Path(__file__).parent, "paging")


def _column(column: KeyColumn) -> sql.SQL:
    return plain(sql.SQL("{}.{}").format(ROW, sql.Identifier(column.name)))


def _row(parts: list[sql.Composable]) -> sql.Composable:
    if len(parts) == 1:
        return parts[0]
    return sql.SQL("({})").format(sql.SQL(", ").join(parts))


def _bound(spec: JobSpec, prefix: str) -> sql.Composable:
    # The type's name is the catalog's own (format_type), already quoted where it must be.
    casts: list[sql.Composable] = [
        sql.SQL("{}::{}").format(sql.Placeholder(f"{prefix}_{n}"), sql.SQL(column.type))
        for n, column in enumerate(spec.key)
    ]
    return _row(casts)


def bound_parameters(prefix: str, key: Key) -> dict[str, str]:
    """The parameters of one bound: `{prefix}_0`, `{prefix}_1` and so on."""
    return {f"{prefix}_{n}": part for n, part in enumerate(key)}


@dataclass(frozen=True, slots=True)
class JobSQL:
    """A job's fragments, and the statements made of them."""

    spec: JobSpec

    @property
    def _table(self) -> sql.SQL:
        return plain(sql.Identifier(self.spec.schema_, self.spec.table))

    @property
    def _tenant(self) -> sql.SQL:
        return plain(sql.Identifier(self.spec.tenant_column))

    @property
    def _key(self) -> sql.Composable:
        return _row([_column(column) for column in self.spec.key])

    @property
    def _key_list(self) -> sql.Composed:
        return sql.SQL(", ").join([_column(column) for column in self.spec.key])

    @property
    def _key_descending(self) -> sql.Composed:
        return sql.SQL(", ").join([sql.SQL("{} DESC").format(_column(column)) for column in self.spec.key])

    @property
    def _key_texts(self) -> sql.Composed:
        texts = [sql.SQL("{}::text").format(_column(column)) for column in self.spec.key]
        return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(texts))

    @property
    def _unfilled(self) -> sql.SQL:
        return plain(unfilled(self.spec.tenant_column, self.spec.sentinel))

    def _keys(self, *, lower: bool, upper: bool = True) -> sql.Composable:
        conditions: list[sql.Composable] = []
        if lower:
            conditions.append(sql.SQL("{} > {}").format(self._key, _bound(self.spec, "lower")))
        if upper:
            conditions.append(sql.SQL("{} <= {}").format(self._key, _bound(self.spec, "upper")))
        return sql.SQL(" AND ").join(conditions)

    def _range(self, *, lower: bool) -> sql.Composable:
        keys = self._keys(lower=lower)
        if self.spec.stripes == 1:
            return keys
        # hash_record takes any key: composite, bytea, whatever has a hash (PostgreSQL 14).
        return sql.SQL("{} AND (hash_record(ROW({})) & {}) = {}").format(
            keys, self._key_list, sql.Literal(self.spec.stripes - 1), sql.Placeholder("stripe")
        )

    def _source(self) -> dict[str, sql.Composable]:
        source = source_sql(
            self.spec.source, tenant_column=self.spec.tenant_column, sentinel=self.spec.sentinel
        )
        none = sql.SQL("")
        tables = source.tables

        def led_by(word: LiteralString) -> sql.Composable:
            return sql.SQL("{} {}").format(sql.SQL(word), plain(tables)) if tables is not None else none

        return {
            "value": plain(source.value),
            "resolved": plain(source.resolved),
            "source": led_by("FROM"),
            "and_source": led_by(","),
            "cross_source": led_by("CROSS JOIN"),
            "from_source": led_by("FROM"),
        }

    def fill(self, *, lower: bool) -> sql.Composed:
        """The batch as one statement: claim, update, mark done. Parameters: batch, the range's."""
        return BATCH.fill.compose(
            table=self._table,
            tenant=self._tenant,
            range=self._range(lower=lower),
            unfilled=self._unfilled,
            **self._source(),
        )

    def fill_unlocked(self, *, lower: bool) -> sql.Composed:
        """The same, passing over rows that somebody holds; what is left becomes a batch of its own."""
        row_lock = "FOR UPDATE OF t" if self.spec.tenant_in_unique_index else "FOR NO KEY UPDATE OF t"
        return BATCH.fill_unlocked.compose(
            table=self._table,
            tenant=self._tenant,
            range=self._range(lower=lower),
            unfilled=self._unfilled,
            row_lock=sql.SQL(row_lock),
            **self._source(),
        )

    def middle(self, *, lower: bool) -> sql.Composed:
        """How many rows of a range still need their tenant, and the key in their middle."""
        return BATCH.middle.compose(
            table=self._table,
            key=self._key_list,
            key_texts=self._key_texts,
            range=self._range(lower=lower),
            unfilled=self._unfilled,
        )

    def last_key(self) -> sql.Composed:
        """The highest key of the table now."""
        return PAGING.last_key.compose(
            table=self._table, key_texts=self._key_texts, key_descending=self._key_descending
        )

    def edges(self, *, lower: bool) -> sql.Composed:
        """Every `width`-th key above lower, of the next `rows`. Parameters: rows, width, the bounds."""
        return PAGING.edges.compose(
            table=self._table, key=self._key_list, key_texts=self._key_texts, range=self._keys(lower=lower)
        )

    def count(self) -> sql.Composed:
        """The rows of the table, counted."""
        return PAGING.count.compose(table=self._table)

    def set_aside(self) -> sql.Composed:
        """Put rows whose source gives them no tenant into the quarantine. Parameters: job."""
        return self._final_scan(PAGING.set_aside)

    def stragglers(self) -> sql.Composed:
        """Keys of rows that could have their tenant and don't. Parameters: job, most."""
        return self._final_scan(PAGING.stragglers)

    def _final_scan(self, statement: Statement) -> sql.Composed:
        source = self._source()
        return statement.compose(
            table=self._table,
            key_texts=self._key_texts,
            unfilled=self._unfilled,
            resolved=source["resolved"],
            from_source=source["from_source"],
        )

    def key_before(self) -> sql.Composed:
        """The key next below `upper`."""
        return PAGING.key_before.compose(
            table=self._table,
            key=self._key,
            key_texts=self._key_texts,
            key_descending=self._key_descending,
            bound=_bound(self.spec, "upper"),
        )


def range_parameters(spec: JobSpec, range_: Range) -> dict[str, Any]:
    """The parameters of a range: its bounds, and its stripe where the job has stripes."""
    parameters: dict[str, Any] = bound_parameters("upper", range_.upper)
    if range_.lower is not None:
        parameters |= bound_parameters("lower", range_.lower)
    if spec.stripes > 1:
        parameters["stripe"] = range_.stripe
    return parameters


def rows_estimate(connection: Connection, spec: JobSpec, oid: int) -> int:
    """The table's rows: the planner's estimate, or counted where it was never analysed."""
    row = connection.execute(PAGING.estimate.compose(), {"oid": oid}).fetchone()
    if row is not None and row[0] > 0:
        return int(row[0])
    counted = connection.execute(JobSQL(spec).count(), {}).fetchone()
    return int(counted[0]) if counted else 0


def correlation(connection: Connection, spec: JobSpec) -> float:
    """How far the key's first column follows the heap, 0 to 1; 1 where it was never analysed.

    An unknown correlation counts as a key in insertion order: stripes cost a random key 0.6 of its speed,
    contiguous ranges cost an ordered key its size on disk (design, section 4).
    """
    row = connection.execute(
        PAGING.correlation.compose(),
        {"schema": spec.schema_, "table": spec.table, "column": spec.key[0].name},
    ).fetchone()
    return abs(float(row[0])) if row is not None and row[0] is not None else 1.0


def commit_as(connection: Connection, synchronous_commit: str) -> None:
    """Set how this session's batches commit.

    With `off` a crash of the server loses the last of them, data and ledger rows together: nothing is torn
    apart, and the batches are pending again.
    """
    connection.execute(BATCH.commit_as.compose(), {"synchronous_commit": synchronous_commit})


def never_in_the_way(connection: Connection) -> None:
    """Bound every statement of a batch connection, so that the application never pays for a batch."""
    connection.execute(BATCH.session.compose())
