"""Rows of three tables, and whose each of them is: asked one by one, in Python."""

import re
from dataclasses import dataclass

import psycopg
from hypothesis import strategies as st
from psycopg import sql

from sql.tenant_source import Constant, Expression, Lookup, Parent, TenantSource

PATTERN = "^[a-z0-9]{1,8}$"
NOTE = Expression(expression="note")
ORG = Lookup(lookup="orgs", on={"org": "id"}, column="tenant")
TREE = Parent(parent="folders", on={"above": "id"})
FOLDER = Parent(parent="folders", on={"folder": "id"})

#: A row: above or folder, org, note.
Row = tuple[int | None, int | None, str | None]


@dataclass(frozen=True)
class World:
    """The rows by their id."""

    orgs: dict[int, str | None]
    folders: dict[int, Row]
    files: dict[int, Row]


IDS = st.integers(1, 8)
ORGS = st.none() | st.integers(1, 4)
NOTES = st.sampled_from([None, "", "acme", "umbra", "has space", "Ünder", "waytoolongforit", "%s", "{}"])
_ROWS = st.dictionaries(IDS, st.tuples(st.none() | IDS, ORGS, NOTES), max_size=8)
WORLDS = st.builds(World, st.dictionaries(st.integers(1, 4), NOTES), _ROWS, _ROWS)


def sources(*firsts: TenantSource) -> st.SearchStrategy[TenantSource]:
    """One of these, with nothing after it, a tenant, or another source that may have one after it too."""
    last = st.one_of(st.none(), st.just("rest"))
    second = st.builds(then, st.sampled_from([NOTE, ORG]), last)
    return st.builds(then, st.sampled_from(firsts), last | second | st.just(Constant(constant="all")))


def then(source: TenantSource, otherwise: TenantSource | str | None) -> TenantSource:
    """The source, and what is asked after it; after a constant nothing is."""
    if isinstance(source, Constant):
        return source
    return source.model_copy(update={"otherwise": otherwise})


@dataclass(frozen=True)
class Asked:
    """Each row asked by itself."""

    world: World
    sources: dict[str, TenantSource]

    def of(self, table: str) -> dict[int, str]:
        """What every row's tenant is; the sentinel where it has none."""
        return {
            row: self._said(self.sources[table], table, row, {row} if table == "folders" else set()) or ""
            for row in getattr(self.world, table)
        }

    def _said(self, source: TenantSource | str | None, table: str, row: int, seen: set[int]) -> str | None:
        if source is None or isinstance(source, str):
            return source
        if isinstance(source, Constant):
            return source.constant
        above, org, note = getattr(self.world, table)[row]
        folders = self.world.folders
        # A row that names itself, or nobody, is a topmost one; a circle has none.
        if isinstance(source, Parent) and above in folders and (table, above) != ("folders", row):
            if table == "folders" and above in seen:
                return None
            return self._said(self.sources["folders"], "folders", above, seen | {above})
        found = None if isinstance(source, Parent) else note
        if isinstance(source, Lookup):
            found = self.world.orgs.get(org or 0)
        assert found is None or isinstance(found, str)
        if found is not None and re.search(PATTERN, found):
            return found
        return self._said(source.otherwise, table, row, seen)


def write(connection: psycopg.Connection, world: World) -> None:
    """Put the rows into the tables in place of all others."""
    connection.execute("TRUNCATE orgs, folders, files")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO orgs VALUES (%s, %s)", list(world.orgs.items()))
        for table, column in (("folders", "above"), ("files", "folder")):
            statement = sql.SQL("INSERT INTO {} (id, {}, org, note) VALUES (%s, %s, %s, %s)").format(
                sql.Identifier(table), sql.Identifier(column)
            )
            cursor.executemany(statement, [(row, *rest) for row, rest in getattr(world, table).items()])


def read(connection: psycopg.Connection) -> World:
    """The rows that are there."""
    orgs = connection.execute("SELECT id, tenant FROM orgs").fetchall()
    folders = connection.execute("SELECT id, above, org, note FROM folders").fetchall()
    files = connection.execute("SELECT id, folder, org, note FROM files").fetchall()
    return World(
        dict(orgs), {row[0]: tuple(row[1:]) for row in folders}, {row[0]: tuple(row[1:]) for row in files}
    )


def tenants(connection: psycopg.Connection, table: str) -> dict[int, str]:
    """Whose each row is, as its tenant column says."""
    return dict(
        connection.execute(sql.SQL("SELECT id, tenant_id FROM {}").format(sql.Identifier(table))).fetchall()
    )
