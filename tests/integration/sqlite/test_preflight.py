"""Preflight of a file: the sample passes, and each fact that is wrong is found, with what to do about it."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control.sqlite.preflight import engine, estimate, room, rows, traffic
from control.sqlite.preflight.estimate import estimates
from control.sqlite.stages import preflight
from sql.errors import GateClosedError
from sql.sqlite.connection import File
from tests.integration.sqlite.looked import at, findings, make, plan, surveyed
from worker import version

#: What is to be said of every file.
_ALWAYS = {"backup", "application's statements", "isolation"}


def test_the_sample_is_stopped_by_nothing_and_each_warning_has_a_way_out(tmp_path: Path) -> None:
    found = findings(plan(make(tmp_path)))
    assert at(found, "stop") == {}
    assert set(at(found, "warn")) == _ALWAYS
    assert all(finding.way_out for finding in found if finding.level != "pass")


def test_looking_changes_nothing(tmp_path: Path) -> None:
    path = make(tmp_path)
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = path.read_bytes()
        findings(plan(path))
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.read_bytes() == before


_TRIGGER = "CREATE TRIGGER touch AFTER UPDATE ON entities BEGIN SELECT {}; END"
_OTHER = "CREATE TABLE other (id INTEGER PRIMARY KEY, entity TEXT REFERENCES entities {})"
_TAKEN_IN = {
    "other": {"tenant": {"parent": "entities", "on": {"entity": "id"}}, "primary_key": ["id", "tenant_id"]}
}

#: What spoils one fact, and what the plan says else; the finding that stops, and a word of what it says.
STOPS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "the tenant column makes numbers of texts": (
        "ALTER TABLE entities ADD tenant_id INTEGER",
        {},
        "entities: tenant column",
        "INTEGER",
    ),
    "the tenant column is generated": (
        "ALTER TABLE entities ADD tenant_id TEXT AS (entity_type)",
        {},
        "entities: tenant column",
        "generated",
    ),
    "somebody's name begins like ours": (
        "CREATE TABLE tenantry_mine (x)",
        {},
        "names tenantry_…",
        "tenantry_mine",
    ),
    "a view names a table that is gone": (
        "CREATE VIEW broken AS SELECT * FROM gone",
        {},
        "views and triggers",
        "view broken: no such table: main.gone",
    ),
    "a trigger names a table that is gone": (
        _TRIGGER.format("* FROM gone"),
        {},
        "views and triggers",
        "trigger touch: no such table: main.gone",
    ),
    "a view's trigger names a table that is gone": (
        """CREATE VIEW v AS SELECT id FROM entities;
        CREATE TRIGGER instead INSTEAD OF INSERT ON v BEGIN INSERT INTO gone VALUES (1); END""",
        {},
        "views and triggers",
        "its triggers for INSERT: no such table: main.gone",
    ),
    "a trigger that the backfill fires calls the application's function": (
        _TRIGGER.format("shout(new.id)"),
        {},
        "functions of the application",
        "shout",
    ),
    "a foreign key names columns that are no key": (
        "CREATE TABLE other (x TEXT REFERENCES entities (entity_type))",
        {},
        "foreign keys that fit nothing",
        "other (x): (entity_type) is no key of entities",
    ),
    "a foreign key names the key of a table that has none": (
        "CREATE TABLE keyless (x TEXT); CREATE TABLE other (id TEXT PRIMARY KEY, x TEXT REFERENCES keyless)",
        {
            "keyless": {"tenant": {"expression": "x"}},
            "other": {"tenant": {"parent": "keyless", "on": {"x": "x"}}},
        },
        "foreign keys that fit nothing",
        "other (x): () is no key of keyless",
    ),
    "a foreign key names a table that is gone": (
        "CREATE TABLE other (x TEXT REFERENCES gone (id))",
        {},
        "foreign keys that fit nothing",
        "there is no table gone",
    ),
    "a foreign key that will hold the tenant empties it on delete": (
        _OTHER.format("ON DELETE SET NULL"),
        _TAKEN_IN,
        "foreign keys that empty the tenant",
        "other (entity) to entities ON DELETE SET NULL",
    ),
    "a foreign key that will hold the tenant sets its default on update": (
        _OTHER.format("ON UPDATE SET DEFAULT"),
        _TAKEN_IN,
        "foreign keys that empty the tenant",
        "ON UPDATE SET DEFAULT",
    ),
    "all names of the rowid are taken, and there is no key": (
        "CREATE TABLE odd (rowid TEXT, _rowid_ TEXT, oid TEXT)",
        {"odd": {"tenant": {"expression": "oid"}}},
        "odd: key to page by",
        "rowid, _rowid_ and oid",
    ),
    "a column of the new key isn't there": (
        "",
        {"entities": {"primary_key": ["nope", "tenant_id"]}},
        "tables with new keys",
        "another key can't take its place",
    ),
    "a column of an index isn't there": (
        "",
        {"entities": {"indexes": [{"name": "i", "columns": ["nope"]}]}},
        "entities: columns of indexes",
        "nope",
    ),
    "an index's name is another table's": (
        "CREATE TABLE idx_entities_tenant (x)",
        {},
        "entities: names of indexes",
        "idx_entities_tenant",
    ),
    "an index's name is another index's": (
        "CREATE INDEX idx_entities_tenant ON relations (source_id)",
        {},
        "entities: names of indexes",
        "idx_entities_tenant",
    ),
    "an index of that name is another one": (
        "CREATE INDEX idx_entities_tenant ON entities (entity_type)",
        {},
        "tables with new keys",
        "idx_entities_tenant of entities is another index than the plan's",
    ),
    "what is to be unique within each tenant isn't unique": (
        "CREATE INDEX plain ON entities (entity_type)",
        {"entities": {"unique": ["plain"]}},
        "tables with new keys",
        "entities has no unique index 'plain'",
    ),
    "a source names a column that isn't there": (
        "",
        {"relations": {"tenant": {"parent": "entities", "on": {"nope": "id"}}}},
        "relations: tenant source",
        "nope",
    ),
    "a lookup isn't there": (
        "",
        {"entities": {"tenant": {"lookup": "orgs", "on": {"entity_type": "id"}, "column": "name"}}},
        "entities: tenant source",
        "there is no orgs",
    ),
    "a lookup is a view": (
        "CREATE VIEW orgs AS SELECT id, id AS name FROM entities",
        {"entities": {"tenant": {"lookup": "orgs", "on": {"entity_type": "id"}, "column": "name"}}},
        "entities: tenant source",
        "orgs is a view",
    ),
    "an expression is no SQL": (
        "",
        {"entities": {"tenant": {"expression": "properties->>"}}},
        "entities: tenant source",
        "syntax error",
    ),
    "an expression needs the application's function": (
        "",
        {"entities": {"tenant": {"expression": "tenant_of(properties)"}}},
        "entities: tenant source",
        "no such function: tenant_of",
    ),
    "a row's document is no JSON": (
        "INSERT INTO entities VALUES ('x', 't', 'no json')",
        {},
        "entities: tenants worked out",
        "malformed JSON",
    ),
    "what is looked up leads to several tenants": (
        """CREATE TABLE orgs (id TEXT, name TEXT);
        INSERT INTO orgs VALUES ('person', 'acme'), ('person', 'umbra'), ('place', 'acme')""",
        {"entities": {"tenant": {"lookup": "orgs", "on": {"entity_type": "id"}, "column": "name"}}},
        "entities: one orgs to a row",
        "1 values of orgs (id) lead to several tenants each, such as person of acme,umbra",
    ),
    "an edge leads to another tenant": (
        "INSERT INTO relations VALUES ('r3', 'a1', 'u1')",
        {},
        "relations: edges by target_id",
        "1 rows name a entities of another tenant, such as r3",
    ),
    "a pattern that the plan's own tenants break": (
        "",
        {"entities": {"tenant": {"constant": "two words"}}},
        "pattern",
        "two words",
    ),
}


@pytest.mark.parametrize("what", STOPS)
def test_what_would_fail_later_stops(what: str, tmp_path: Path) -> None:
    spoil, changes, name, said = STOPS[what]
    found = findings(plan(make(tmp_path, spoil), changes))
    stops = at(found, "stop")
    assert list(stops) == [name]
    assert said in stops[name]
    assert all(finding.way_out for finding in found if finding.level == "stop")


def test_rows_without_a_tenant_stop_where_the_plan_says_so(tmp_path: Path) -> None:
    path = make(
        tmp_path, "INSERT INTO entities VALUES ('x', 't', '{}'), ('y', 't', '{\"org_id\": \"two words\"}')"
    )
    stops = at(findings(plan(path, tenant={"unresolved": "stop"})), "stop")
    assert stops == {
        "entities: tenants worked out": "1 of 5 rows have none, such as x",
        "entities: tenants match the pattern": "1 rows would belong to 'two words'",
    }


#: The same for what warns.
WARNS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "the journal is no WAL": ("PRAGMA journal_mode = DELETE", {}, "journal mode", "delete"),
    "pages move at each drop": (
        "PRAGMA journal_mode = DELETE; PRAGMA auto_vacuum = FULL; VACUUM",
        {},
        "auto_vacuum",
        "full",
    ),
    "pages are small": (
        "PRAGMA journal_mode = DELETE; PRAGMA page_size = 1024; VACUUM",
        {},
        "pages",
        "1,024",
    ),
    "a row names what isn't there": (
        "INSERT INTO relations VALUES ('r3', 'a1', 'nobody')",
        {},
        "foreign keys",
        "1 rows of relations name no row of entities",
    ),
    "a view calls the application's function": (
        "CREATE VIEW v AS SELECT shout(id) FROM entities",
        {},
        "functions of the application elsewhere",
        "view v: no such function: shout",
    ),
    "a full-text index reads rows by their rowids": (
        "CREATE VIRTUAL TABLE found USING fts5(entity_type, content='entities')",
        {},
        "virtual tables on rowids",
        "found reads entities by its rowid",
    ),
    "an rtree may belong to a table": (
        "CREATE VIRTUAL TABLE places USING rtree(id, a, b)",
        {},
        "virtual tables",
        "places (rtree)",
    ),
    "the backfill fires a trigger": (
        _TRIGGER.format("1"),
        {},
        "entities: triggers that the backfill fires",
        "touch",
    ),
    "the backfill fires a trigger that changes other columns": (
        """CREATE TRIGGER touch AFTER UPDATE ON entities
        BEGIN UPDATE entities SET entity_type = 'x' WHERE id = new.id; END""",
        {},
        "entities: triggers that the backfill fires",
        "touch (updates entities itself",
    ),
    "a STRICT table's new key refuses a row without a tenant": (
        "CREATE TABLE other (id TEXT PRIMARY KEY, entity TEXT) STRICT",
        {
            "other": {
                "tenant": {"parent": "entities", "on": {"entity": "id"}},
                "primary_key": ["id", "tenant_id"],
            }
        },
        "other: rows without a tenant after keys",
        "STRICT",
    ),
    "a WITHOUT ROWID table's new key refuses a row without a tenant": (
        "CREATE TABLE other (id TEXT PRIMARY KEY, entity TEXT) WITHOUT ROWID",
        {
            "other": {
                "tenant": {"parent": "entities", "on": {"entity": "id"}},
                "primary_key": ["id", "tenant_id"],
            }
        },
        "other: rows without a tenant after keys",
        "WITHOUT ROWID",
    ),
    "a foreign key comes from outside the plan": (
        _OTHER.format(""),
        {},
        "foreign keys that stay on the id alone",
        "other (entity) to entities",
    ),
    "what is looked up could be there twice": (
        """CREATE TABLE orgs (id TEXT, name TEXT);
        INSERT INTO orgs VALUES ('person', 'acme'), ('place', 'acme')""",
        {"entities": {"tenant": {"lookup": "orgs", "on": {"entity_type": "id"}, "column": "name"}}},
        "entities: one orgs to a row",
        "nothing makes orgs (id) unique",
    ),
    "no index leads to rows that follow": (
        """DROP INDEX relations_source;
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000)
        INSERT INTO relations SELECT 'x' || i, 'a1', 'a2' FROM n""",
        {},
        "relations: index to follow entities by",
        "none begins with (source_id) of relations",
    ),
    "a row has no tenant": (
        "INSERT INTO entities VALUES ('x', 't', '{}')",
        {},
        "entities: tenants worked out",
        "1 of 4 rows have none, such as x",
    ),
    "a tenant breaks the pattern": (
        "INSERT INTO entities VALUES ('x', 't', '{\"org_id\": \"two words\"}')",
        {},
        "entities: tenants match the pattern",
        "'two words'",
    ),
    "the tenant column is there already": (
        "ALTER TABLE entities ADD tenant_id TEXT",
        {},
        "way back",
        "tenant_id of entities is there already",
    ),
}


@pytest.mark.parametrize("what", WARNS)
def test_what_an_operator_should_know_warns(what: str, tmp_path: Path) -> None:
    spoil, changes, name, said = WARNS[what]
    found = findings(plan(make(tmp_path, spoil), changes))
    warns = {name: fact for name, fact in at(found, "warn").items() if name not in _ALWAYS}
    assert at(found, "stop") == {}
    assert name in warns
    assert said in warns[name]


def test_functions_and_collations_that_only_the_application_has_stop(tmp_path: Path) -> None:
    """In a check, a generated column, an index, and as a column's collation."""
    path = make(tmp_path)
    with closing(sqlite3.connect(path)) as opened:
        opened.create_function("shout", 1, str, deterministic=True)
        opened.create_collation("odd", lambda one, other: (one > other) - (one < other))
        opened.executescript(
            "CREATE TABLE checked (id TEXT PRIMARY KEY, a TEXT CHECK (shout(a) <> ''));"
            "CREATE TABLE generated (id TEXT PRIMARY KEY, a TEXT AS (shout(id)));"
            "CREATE TABLE indexed (id TEXT PRIMARY KEY); CREATE INDEX i ON indexed (shout(id));"
            "CREATE TABLE sorted (id TEXT PRIMARY KEY, a TEXT COLLATE odd)"
        )
    tables = {
        name: {"tenant": {"expression": "id"}} for name in ("checked", "generated", "indexed", "sorted")
    }
    stops = at(findings(plan(path, tables)), "stop")
    functions = stops["functions of the application"]
    assert [name for name in tables if f"{name}, INSERT" in functions or f"{name}:" in functions] == [
        "checked",
        "generated",
        "indexed",
    ]
    assert stops["collations of the application"] == "sorted: odd"


def test_a_broken_page_stops(tmp_path: Path) -> None:
    path = make(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(path)) as opened:
        (page,) = opened.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'relations_source'"
        ).fetchone()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 + 4000 : page * 4096] = bytes(96)
    path.write_bytes(content)
    assert "integrity" in at(findings(plan(path)), "stop")


def test_a_writer_who_stays_is_told(tmp_path: Path) -> None:
    path = make(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "writers" in at(findings(plan(path)), "warn")


def test_a_reader_who_keeps_the_wal_is_told(tmp_path: Path) -> None:
    path = make(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM entities").fetchall()
        with closing(sqlite3.connect(path)) as writer:
            writer.execute("CREATE TABLE filler AS SELECT zeroblob(6000000)")
        assert "a reader still needs" in at(findings(plan(path)), "warn")["WAL"]
    assert "WAL" not in at(findings(plan(path)), "warn")


def test_a_journal_that_was_left_stops(tmp_path: Path) -> None:
    with surveyed(plan(make(tmp_path))) as ground:
        # A connection plays it back when it opens the file, and this one has it open already.
        (tmp_path / "graph.db-journal").write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(600))
        found = list(traffic.look(ground))
    assert "leftover journal" in at(found, "stop")


def test_another_process_that_has_the_file_open_is_named(tmp_path: Path) -> None:
    path = make(tmp_path)
    read, write = os.pipe()
    child = os.posix_spawn(
        shutil.which("tail") or "tail",
        ["tail", "-f", str(path)],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)],
    )
    try:
        os.read(read, 1)  # it has the file open once it has written of it
        assert f"tail (process {child})" in at(findings(plan(path)), "pass")["who has it open"]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


@pytest.fixture
def folder_of_nobodys() -> Iterator[Path]:
    """A folder that this user may not write, and can read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_file_that_this_user_may_not_write_stops(folder_of_nobodys: Path) -> None:
    path = make(folder_of_nobodys, "PRAGMA journal_mode = DELETE")
    path.chmod(0o444)
    folder_of_nobodys.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        stops = at(findings(plan(path)), "stop")
    finally:
        if is_root:
            os.seteuid(0)
    assert stops == {"rights": f"{path}, {path.parent} can't be written"}


def test_too_little_room_stops(tmp_path: Path) -> None:
    with surveyed(plan(make(tmp_path))) as ground:
        huge = [replace(cost, wal_bytes=10**15) for cost in estimates(ground)]
        (found,) = room.look(ground, huge)
    assert (found.level, found.name) == ("stop", "disk")


def test_a_backup_on_the_same_disk_is_part_of_the_room(tmp_path: Path) -> None:
    path = make(tmp_path)
    given = plan(path, backup={"path": str(tmp_path / "backup.db")})
    assert "for the backup" in at(findings(given), "pass")["disk"]


@pytest.mark.parametrize(
    ("version", "level"), [((3, 36, 0), "stop"), ((3, 37, 2), "warn"), ((3, 38, 0), "pass")]
)
def test_an_old_sqlite_is_told(version: tuple[int, ...], level: str) -> None:
    assert engine.version(version).level == level


def test_a_count_that_takes_too_long_is_given_up_and_said(tmp_path: Path) -> None:
    million = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000)"
    path = make(
        tmp_path, f"INSERT INTO entities {million} SELECT 'e' || i, 't', '{{\"org_id\": \"acme\"}}' FROM n"
    )
    with surveyed(plan(path)) as ground:
        found = list(rows.look(ground, 0.01))
    assert at(found, "warn")["entities: tenants worked out"].startswith("not counted in")


def test_a_lookup_finds_its_tenant_and_a_tree_walks_up(tmp_path: Path) -> None:
    path = make(
        tmp_path,
        "CREATE TABLE folders (id INTEGER PRIMARY KEY, up INTEGER REFERENCES folders, org TEXT);"
        "INSERT INTO folders VALUES (1, NULL, 'acme'), (2, 1, NULL), (3, 2, NULL), (4, NULL, NULL), (5, 6, "
        "'x'),"
        " (6, 5, 'x');",
    )
    tree = {"tenant": {"parent": "folders", "on": {"up": "id"}, "otherwise": {"expression": "org"}}}
    warns = at(findings(plan(path, {"folders": tree})), "warn")
    # 4 has nothing above it and says nothing; 5 and 6 stand above each other.
    assert warns["folders: tenants worked out"] == "3 of 6 rows have none, such as 4, 5, 6"


def test_the_stage_lets_nothing_begin_that_a_finding_stops(tmp_path: Path) -> None:
    given = plan(make(tmp_path, "CREATE VIEW broken AS SELECT * FROM gone"))
    with surveyed(given) as ground, pytest.raises(GateClosedError, match="view broken") as raised:
        preflight.STAGE.work(ground)
    assert raised.value.exit_status == 3


def test_the_stage_tells_every_warning(tmp_path: Path) -> None:
    told: list[str] = []
    with surveyed(plan(make(tmp_path))) as ground:
        preflight.STAGE.work(replace(ground, notify=told.append))
    assert {line.split(": ")[1] for line in told} == _ALWAYS


def test_the_migrations_own_names_stop_nothing_once_it_has_begun(tmp_path: Path) -> None:
    path = make(tmp_path)
    with File(path) as file:
        version.create(file)
        file.execute("CREATE TABLE tenantry_guard (uses INTEGER)")
    assert at(findings(plan(path)), "stop") == {}


def test_each_long_write_lock_is_foretold_with_its_stage_and_table(tmp_path: Path) -> None:
    """A rebuild at once and the way back of a table of 300,000 rows; none for the small one."""
    many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000)"
    row = "SELECT 'e' || i, 't', '{\"org_id\": \"acme\"}' FROM n"
    path = make(tmp_path, f"INSERT INTO entities {many} {row}")
    with surveyed(plan(path)) as ground:
        sizes = estimate.sizes(ground)
        found = list(estimate.look(ground, sizes, estimate.estimates(ground, sizes)))
    warns = at(found, "warn")
    assert "keys: entities, relations: made anew with the new keys, about" in warns["long write locks"]
    assert "relations: drop tenant_id" not in warns["long write locks of the way back"]
