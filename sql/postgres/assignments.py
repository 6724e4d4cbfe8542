"""What an assignment of rows to another tenant looks at before it begins, and while it waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from sql.job import KeyColumn
from sql.named import load
from sql.postgres import chosen
from sql.postgres.connection import Connection, literal

STATEMENTS = load(Path(__file__).parent, "assignments")

#: Where a row lies: what tells it while one statement looks.
_PLACE = ("tenantry: of", "tenantry: at")
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows of a table that are to go from one tenant to another, as the operator has asked for them.

    `condition` is SQL over the row; `noted` tells them instead by the notes of an earlier assignment, with
    the table's name there and its key; `along` are the rows that these name, and by which columns; `tree` are
    the columns by which rows name others of the same table that go. A table of which none goes has none.
    """

    table: sql.Identifier
    column: str
    tenant: str
    condition: str | None = None
    noted: tuple[int, str, tuple[KeyColumn, ...]] | None = None
    along: "tuple[Chosen, Pairs] | None" = None
    tree: tuple[Pairs, ...] = ()
    open_only: bool = False
    """Of the noted ones only those that were copied, and not removed."""

    def rows(self) -> sql.Composable:
        """The rows, each with its place."""
        found = self._at_the_top()
        if not self.tree:
            return found
        named = sql.SQL(" OR ").join(_matching("c", "up", pairs) for pairs in self.tree)
        return sql.SQL(
            "SELECT t.*, {place} FROM {table} AS t WHERE {column} = {tenant} AND (t.tableoid, t.ctid) IN ("
            "WITH RECURSIVE down (of, at) AS (SELECT {of}, {at} FROM ({found}) AS first UNION"
            " SELECT c.tableoid, c.ctid FROM down"
            " JOIN {table} AS up ON up.tableoid = down.of AND up.ctid = down.at"
            " JOIN {table} AS c ON ({named}) WHERE c.{named_column} = {tenant}) SELECT of, at FROM down)"
        ).format(
            place=_places(),
            table=self.table,
            column=self._column("t"),
            named_column=sql.Identifier(self.column),
            tenant=literal(self.tenant),
            of=sql.Identifier(_PLACE[0]),
            at=sql.Identifier(_PLACE[1]),
            found=found,
            named=named,
        )

    def _at_the_top(self) -> sql.Composable:
        ways: list[sql.Composable] = []
        if self.condition is not None:
            ways.append(sql.SQL("({})").format(sql.SQL(self.condition)))
        if self.noted is not None:
            assignment, named, key = self.noted
            ways.append(chosen.is_noted(assignment, named, "t", key, open_only=self.open_only))
        if self.along is not None:
            parent, pairs = self.along
            ways.append(
                sql.SQL("EXISTS (SELECT FROM ({}) AS p WHERE {})").format(
                    parent.rows(), _matching("t", "p", pairs)
                )
            )
        return sql.SQL("SELECT t.*, {} FROM {} AS t WHERE {} = {} AND ({})").format(
            _places(),
            self.table,
            self._column("t"),
            literal(self.tenant),
            sql.SQL(" OR ").join(ways) if ways else sql.SQL("false"),
        )

    def _column(self, alias: str) -> sql.Identifier:
        return sql.Identifier(alias, self.column)


def _places() -> sql.Composed:
    return sql.SQL("t.tableoid AS {}, t.ctid AS {}").format(*map(sql.Identifier, _PLACE))


def _matching(ours: str, theirs: str, pairs: Pairs) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(ours, one), sql.Identifier(theirs, other))
        for one, other in pairs
    )


def _is(row: str) -> sql.Composed:
    of, at = map(sql.Identifier, _PLACE)
    name = sql.Identifier(row)
    return sql.SQL("c.{} = {}.tableoid AND c.{} = {}.ctid").format(of, name, at, name)


@dataclass(frozen=True, slots=True)
class Found:
    """How many rows were found, and one of them."""

    rows: int
    example: str | None


def volatile(connection: Connection, table: sql.Identifier, where: str) -> list[str]:
    """Have the server read the operator's condition; what in it may say something else each time it is asked.

    Raises:
        psycopg.Error: what is wrong with it.
    """
    with connection.transaction(force_rollback=True):
        # In binary, which takes one statement alone: what stands behind a semicolon would else be run.
        connection.execute(STATEMENTS.condition.compose(table=table, where=sql.SQL(where)), binary=True)
        return [name for (name,) in connection.execute(STATEMENTS.volatile.compose())]


def count(connection: Connection, rows: Chosen) -> int:
    """How many rows there are to move."""
    row = connection.execute(STATEMENTS.count.compose(rows=rows.rows())).fetchone()
    return int(row[0]) if row is not None else 0


def torn(connection: Connection, child: Chosen, parent: Chosen, pairs: Pairs) -> Found:
    """Rows of which either they or the row that they name would go, and not both."""
    statement = STATEMENTS.torn.compose(
        example=sql.Identifier(pairs[0][0]),
        child=child.table,
        parent=parent.table,
        pairs=_matching("t", "p", pairs),
        column=sql.Identifier(child.column),
        **{"from": literal(child.tenant)},
        children=child.rows(),
        parents=parent.rows(),
        child_same=_is("t"),
        parent_same=_is("p"),
    )
    return _found(connection, statement)


def taken(connection: Connection, rows: Chosen, key: Sequence[str], to: str) -> Found:
    """Rows like which the tenant `to` has one already, in all columns of a key."""
    statement = STATEMENTS.taken.compose(
        example=sql.Identifier(key[0]),
        rows=rows.rows(),
        table=rows.table,
        same=_matching("there", "r", tuple((name, name) for name in key)),
        column=sql.Identifier(rows.column),
        to=literal(to),
    )
    return _found(connection, statement)


def circling(connection: Connection, rows: Chosen, key: Sequence[str]) -> Found:
    """Rows of a tree that are in a circle, or below one."""
    statement = STATEMENTS.circling.compose(
        example=sql.Identifier(key[0]),
        rows=rows.rows(),
        of=sql.Identifier(_PLACE[0]),
        at=sql.Identifier(_PLACE[1]),
        named=sql.SQL(" OR ").join(_matching("c", "up", pairs) for pairs in rows.tree),
    )
    return _found(connection, statement)


def analyze(connection: Connection, table: sql.Identifier) -> None:
    """Have the server look at a table as it is now, before it plans for rows that it doesn't know."""
    connection.execute(STATEMENTS.analyze.compose(table=table))


def hidden(connection: Connection, tables: Mapping[str, sql.Identifier]) -> list[str]:
    """The tables of which row-level security would hide rows from this session."""
    asked = {identifier.as_string(): name for name, identifier in tables.items()}
    rows = connection.execute(STATEMENTS.hidden.compose(), {"tables": list(asked)})
    return [asked[identifier] for (identifier,) in rows]


def moment(connection: Connection) -> str:
    """This moment, to ask `seen` with."""
    row = connection.execute(STATEMENTS.now.compose()).fetchone()
    return str(row[0]) if row is not None else ""


def seen(connection: Connection, moment: str) -> bool:
    """Whether every transaction that was under way at that moment has ended."""
    row = connection.execute(STATEMENTS.seen.compose(), {"moment": moment}).fetchone()
    return row is not None and bool(row[0])


def _found(connection: Connection, statement: sql.Composed) -> Found:
    row = connection.execute(statement).fetchone()
    return Found(*row) if row is not None else Found(0, None)
