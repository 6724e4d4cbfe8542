"""Composes the statements of one batch and of paging for a job.

Everything that depends on the job is composed once; a batch brings only parameters, so that its
statement is prepared once per connection. Bounds travel as text and are cast by the server to the key's
type, with the DateStyle and the like that every connection of ours sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from psycopg import sql

from sql.job import By, JobSpec, Key, KeyColumn, Range, Shape
from sql.named import Statement, load, plain
from sql.postgres import chosen
from sql.postgres.connection import Connection, literal
from sql.postgres.paging import PAGING
from sql.postgres.source import ROW, Rules, source_sql, unfilled
from sql.tenant_source import Lookup, Parent, qualified

BATCH = load(Path(__file__).parent, "batch")

_NOTHING = sql.SQL("")


def _column(column: KeyColumn) -> sql.SQL:
    return plain(sql.SQL("{}.{}").format(ROW, sql.Identifier(column.name)))


def _ordered(column: KeyColumn) -> sql.Composable:
    """The column as its index has it: under a collation of its own, where the index has one."""
    # The collation's name is the catalog's own, quoted and qualified.
    collation = plain(sql.SQL(f" COLLATE {column.collation}" if column.collation else ""))
    return sql.SQL("{}{}").format(_column(column), collation)


def _row(parts: Sequence[sql.Composable]) -> sql.Composable:
    if len(parts) == 1:
        return parts[0]
    return sql.SQL("({})").format(sql.SQL(", ").join(parts))


def _cast(texts: Sequence[sql.Composable], columns: Sequence[KeyColumn]) -> list[sql.Composable]:
    # The type's name is the catalog's own (format_type), already quoted where it must be.
    return [
        sql.SQL("{}::{}").format(text, plain(sql.SQL(column.type)))
        for text, column in zip(texts, columns, strict=True)
    ]


def _bound(columns: Sequence[KeyColumn], prefix: str, *, claimed: bool = False) -> sql.Composable:
    """A bound; that of a `claimed` batch is NULL where the claim got none, and no row is below that.

    Asked so, the claim costs the scan nothing. As a condition of its own it stands above the scan, which then
    hands up whole rows: 7 % of a batch of 4,000 rows.
    """
    first, *others = _cast([sql.Placeholder(f"{prefix}_{n}") for n in range(len(columns))], columns)
    if claimed:
        first = sql.SQL("(SELECT {} FROM claimed)").format(first)
    return _row([first, *others])


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
    def unfinished(self) -> sql.Composable:
        """Whether a row called `t` is still to be written."""
        if self.spec.moving is not None:
            return chosen.left(self.spec, self.spec.moving)
        if self.spec.copying is not None:
            tenants = plain(sql.Literal(list(self.spec.copying.tenants)))
            return sql.SQL("t.{} = ANY ({}::text[])").format(self._tenant, tenants)
        if not self.spec.reset:
            return plain(unfilled(self.spec.tenant_column, self.spec.sentinel))
        return sql.SQL("t.{} IS DISTINCT FROM {}").format(self._tenant, plain(literal(self.spec.sentinel)))

    @property
    def identity(self) -> sql.Composed:
        """What tells a row called `t`, as the ledger keeps it."""
        return self._texts(self.spec.identity)

    @staticmethod
    def _in_order(columns: Sequence[KeyColumn]) -> sql.Composed:
        return sql.SQL(", ").join([_ordered(column) for column in columns])

    @staticmethod
    def _backwards(columns: Sequence[KeyColumn]) -> sql.Composed:
        return sql.SQL(", ").join([sql.SQL("{} DESC").format(_ordered(column)) for column in columns])

    @staticmethod
    def _texts(columns: Sequence[KeyColumn]) -> sql.Composed:
        texts = [sql.SQL("{}::text").format(_column(column)) for column in columns]
        return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(texts))

    def _between(self, by: By, *, lower: bool, claimed: bool = False) -> sql.Composable:
        columns = self.spec.columns(by)
        key = _row([_ordered(column) for column in columns])
        upto = sql.SQL("{} <= {}").format(key, _bound(columns, "upper", claimed=claimed))
        if not lower:
            return upto
        return sql.SQL("{} > {} AND {}").format(key, _bound(columns, "lower"), upto)

    def in_range(self, shape: Shape) -> sql.Composable:
        """Whether a row called `t` is in a range of that shape. Parameters: `range_parameters`.

        A stripe is every so many rows of a page, by their line pointers. A hash of the key would take a
        share that differs from visit to visit, and the largest of them decides how many rows must leave their
        page: with 8 visits the table ended at 1.18 of its size, by line pointers at 1.12. A row that the
        application moves between two visits may escape both, and is found by the sweep.
        """
        between = self._between(shape.by, lower=shape.lower)
        return sql.SQL("{} AND {}").format(between, self._of_stripe) if shape.striped else between

    @property
    def _of_stripe(self) -> sql.Composable:
        # The last byte of a tid as it is sent is the low byte of its line pointer.
        return sql.SQL("mod(get_byte(tidsend(t.ctid), 5), {}) = {}").format(
            sql.Literal(self.spec.stripes), sql.Placeholder("stripe")
        )

    def in_claimed(self, shape: Shape) -> sql.Composable:
        """Whether a row called `t` is in a range that is visited once; none is where no batch was claimed."""
        return self._between(shape.by, lower=shape.lower, claimed=True)

    def asked(self, shape: Shape) -> dict[str, sql.Composable]:
        """The fragments that choose a batch's rows, and those of their source, in the order they are asked.

        The stripe's test comes first, for it looks at no column: of twelve rows of a page eleven are not
        this visit's. In a CASE, because the planner takes a column, and even a JSON field, for cheaper and
        asks for those first: 19 ms instead of 12 for a batch of 2,500 rows.
        """
        fragments = self._source() | {
            "range": self._between(shape.by, lower=shape.lower),
            "unfilled": self.unfinished,
        }
        if not shape.striped:
            return fragments
        wanted: sql.Composable = self.unfinished
        if fragments["source"] == _NOTHING:
            wanted = sql.SQL("{} AND {}").format(wanted, fragments["resolved"])
            fragments["resolved"] = sql.SQL("true")
        only = sql.SQL("CASE WHEN {} THEN {} ELSE false END")
        return fragments | {"unfilled": only.format(self._of_stripe, wanted)}

    def _source(self) -> dict[str, sql.Composable]:
        spec = self.spec
        if spec.reset or spec.moving is not None:
            nowhere: dict[str, sql.Composable] = dict.fromkeys(
                ("source", "and_source", "cross_source"), _NOTHING
            )
            given = spec.moving.to if spec.moving is not None else spec.sentinel
            return nowhere | {"value": plain(literal(given)), "resolved": sql.SQL("true")}
        source = source_sql(spec.source, Rules(spec.named, spec.tenant_column, spec.sentinel, spec.pattern))
        tables = source.tables

        def led_by(word: LiteralString) -> sql.Composable:
            return sql.SQL("{} {}").format(sql.SQL(word), plain(tables)) if tables is not None else _NOTHING

        return {
            "value": plain(source.value),
            "resolved": plain(source.resolved),
            "source": led_by("FROM"),
            "and_source": led_by(","),
            "cross_source": led_by("CROSS JOIN"),
        }

    def fill(self, shape: Shape) -> sql.Composed:
        """The batch as one statement: claim, update, mark done. Parameters: batch, the range's."""
        asked = self.asked(shape) | {"range": self.in_claimed(shape)}
        return BATCH.fill.compose(table=self._table, tenant=self._tenant, **asked, **self._notes)

    @property
    def _notes(self) -> dict[str, sql.Composable]:
        """What a batch says beside its update, where rows go from one tenant to another."""
        spec = self.spec
        if spec.moving is None:
            return {"told": _NOTHING, "returned": sql.SQL("1"), "noted": _NOTHING}
        return {
            "told": chosen.ASSIGNING,
            "returned": plain(chosen.own_key("t", spec.own_key)) if spec.own_key else sql.SQL("1"),
            "noted": chosen.noting(spec, spec.moving, "filled"),
        }

    def fill_unlocked(self, shape: Shape) -> sql.Composed:
        """The same, passing over rows that somebody holds; what is left becomes a batch of its own."""
        row_lock = "FOR UPDATE OF t" if self.spec.tenant_in_unique_index else "FOR NO KEY UPDATE OF t"
        return BATCH.fill_unlocked.compose(
            table=self._table,
            tenant=self._tenant,
            row_lock=sql.SQL(row_lock),
            **self.asked(shape),
            **self._notes,
        )

    def middle(self, shape: Shape) -> sql.Composed:
        """How many rows of a range still need their tenant; the bound and the identity of the middle one."""
        columns = self.spec.columns(shape.by)
        return BATCH.middle.compose(
            table=self._table,
            order=self._in_order(columns),
            bound=self._texts(columns),
            identity=self.identity,
            range=self.in_range(shape),
            unfilled=self.unfinished,
        )

    def last_key(self) -> sql.Composed:
        """The highest key of the table now."""
        return PAGING.last_key.compose(
            table=self._table,
            key_texts=self._texts(self.spec.key),
            key_descending=self._backwards(self.spec.key),
        )

    def edges(self, *, lower: bool) -> sql.Composed:
        """Every `width`-th key above lower, of the next `rows`. Parameters: rows, width, the bounds."""
        return PAGING.edges.compose(
            table=self._table,
            key=self._in_order(self.spec.key),
            key_texts=self._texts(self.spec.key),
            range=self._between("key", lower=lower),
        )

    def unfilled(self) -> sql.Composed:
        """How many rows have no tenant yet, quarantined ones among them."""
        return PAGING.unfilled.compose(table=self._table, unfilled=self.unfinished)

    def set_aside(self) -> sql.Composed:
        """Put rows whose source gives them no tenant into the quarantine. Parameters: job."""
        return self._left(PAGING.set_aside)

    def sweep(self, *, ask: bool = True) -> sql.Composed:
        """The bounds of ranges that hold all rows that could have their tenant and don't.

        Without `ask` the source is not asked: those too that it gives no tenant, or fails for.
        Parameters: job, each (rows to a range), most (ranges).
        """
        key = self._in_order(self.spec.identity)
        return self._left(PAGING.sweep, ask=ask, key=key, below=self._below())

    def _left(self, statement: Statement, *, ask: bool = True, **more: sql.Composable) -> sql.Composed:
        source = self._source()
        known = sql.SQL("EXISTS (SELECT {source} WHERE {resolved})").format(**source)
        return statement.compose(
            table=self._table,
            key_texts=self.identity,
            unfilled=self.unfinished,
            known=known if ask else sql.SQL("true"),
            **more,
        )

    def _below(self) -> sql.Composable:
        """The bound right below the one called `ends.first`: the key before it, or the place before it."""
        if not self.spec.key:
            page, row = "(ends.first[1]::point)[0]::bigint", "(ends.first[1]::point)[1]::bigint - 1"
            return plain(sql.SQL(f"ARRAY[format('(%s,%s)', {page}, {row})]"))
        columns = self.spec.key
        first = [sql.SQL("ends.first[{}]").format(sql.Literal(n + 1)) for n in range(len(columns))]
        return sql.SQL(
            "SELECT {texts} FROM {table} AS t WHERE {key} < {first} ORDER BY {backwards} LIMIT 1"
        ).format(
            texts=self._texts(columns),
            table=self._table,
            key=_row([_ordered(column) for column in columns]),
            first=_row(_cast(first, columns)),
            backwards=self._backwards(columns),
        )


def range_parameters(range_: Range) -> dict[str, Any]:
    """The parameters of a range: its bounds, and its stripe where it is one of several."""
    parameters: dict[str, Any] = bound_parameters("upper", range_.upper)
    if range_.lower is not None:
        parameters |= bound_parameters("lower", range_.lower)
    if range_.stripe is not None:
        parameters["stripe"] = range_.stripe
    return parameters


def is_told_by_index(connection: Connection, spec: JobSpec) -> bool:
    """Whether the tenant of each row is read from one row of another table, which an index finds."""
    match spec.source:
        case Lookup(lookup=table, on=on, otherwise=None) | Parent(parent=table, on=on, otherwise=None):
            asked = {"table": qualified(table).as_string(), "columns": list(on.values())}
            found = connection.execute(BATCH.is_indexed.compose(), asked).fetchone()
            return found is not None and bool(found[0])
    return False


def look_up(connection: Connection, *, one_by_one: bool) -> None:
    """Have this session's batches look the rows that tell their tenants up one by one, or as it comes."""
    connection.execute(BATCH.look_up.compose(), {"other_joins": "off" if one_by_one else "on"})


def commit_as(connection: Connection, synchronous_commit: str) -> None:
    """Set how this session's batches commit.

    With `off` a crash of the server loses the last of them, data and ledger rows together: nothing is torn
    apart, and the batches are pending again.
    """
    connection.execute(BATCH.commit_as.compose(), {"synchronous_commit": synchronous_commit})


def hold_triggers(connection: Connection) -> None:
    """Keep the application's triggers from firing for this session's updates, until `let_triggers_run`.

    Raises:
        psycopg.errors.InsufficientPrivilege: the role may not; preflight says so before.
    """
    connection.execute(BATCH.hold_triggers.compose())


def let_triggers_run(connection: Connection) -> None:
    """Undo `hold_triggers`."""
    connection.execute(BATCH.let_triggers_run.compose())


def take_time(connection: Connection) -> None:
    """Let this transaction's reads take a minute each."""
    connection.execute(BATCH.take_time.compose())


def never_in_the_way(connection: Connection) -> None:
    """Bound every statement of a batch connection, so that the application never pays for a batch."""
    connection.execute(BATCH.session.compose())
