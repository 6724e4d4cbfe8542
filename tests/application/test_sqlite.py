"""What the document gives an application whose database is a SQLite file, before the migration and after."""

import re
import shutil
import sqlite3
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from control.plan.reading import read_plan
from control.sqlite import conductor, fitting
from control.tenants import serving
from tests.integration.sqlite.conftest import make_graph
from tests.integration.sqlite.graph_plan import migrate, plan_of, run

Module = Callable[[str], ModuleType]

#: No column; the column, with no row filled; the new key.
STAGES = ("unmigrated", "unfilled", "migrated")
TABLES = ("entities", "relations")


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample file at each stage."""
    folder = tmp_path_factory.mktemp("stages")
    for stage in STAGES:
        path = make_graph(folder / f"{stage}.db")
        if stage == "unfilled":
            run(plan_of(path), to="columns")
        elif stage == "migrated":
            migrate(path)
    return folder


@pytest.fixture
def file_of(stages: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy the file of a stage, to be changed."""
    return lambda stage: Path(shutil.copy(stages / f"{stage}.db", tmp_path / "graph.db"))


@contextmanager
def opened(tenancy: Module, path: Path) -> Iterator[sqlite3.Connection]:
    with closing(tenancy("with_sqlite").connect(str(path))) as connection:
        yield connection


def tenants_of(connection: sqlite3.Connection, entity_id: str) -> list[str]:
    rows = connection.execute("SELECT tenant_id FROM main.entities WHERE id = ? ORDER BY 1", [entity_id])
    return [tenant for (tenant,) in rows]


@pytest.mark.parametrize(
    ("stage", "has_column", "in_key"),
    [("unmigrated", False, False), ("unfilled", True, False), ("migrated", True, True)],
)
def test_the_file_tells_its_stage(
    tenancy: Module, file_of: Callable[[str], Path], stage: str, *, has_column: bool, in_key: bool
) -> None:
    stages = tenancy("sqlite_stage")
    with opened(tenancy, file_of(stage)) as connection:
        assert stages.stage_of(connection, "entities") == stages.Stage(has_column, in_key)
        assert not stages.is_enabled(connection, "acme")


@pytest.mark.parametrize("stage", STAGES)
def test_a_tenant_reads_again_what_it_put_and_puts_again_what_is_there(
    tenancy: Module, file_of: Callable[[str], Path], stage: str
) -> None:
    with opened(tenancy, file_of(stage)) as connection, tenancy("context").acting_for("org-1"):
        store = tenancy("sqlite_store").TenantAwareStore(connection)
        store.put_entity("new", "robot", {"name": "first"})
        store.put_entity("new", "robot", {"name": "second"})
        assert store.entities("robot") == {"new": {"name": "second"}}
        assert stage == "unmigrated" or tenants_of(connection, "new") == ["org-1"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_row_that_was_there_is_read_at_each_stage(
    tenancy: Module, file_of: Callable[[str], Path], stage: str
) -> None:
    with opened(tenancy, file_of(stage)) as connection, tenancy("context").acting_for("org-1"):
        found = tenancy("sqlite_store").TenantAwareStore(connection).entities("person")
    assert sum(told["org_id"] == "org-1" for told in found.values()) == 34
    assert stage != "migrated" or len(found) == 34


def test_after_the_migration_two_tenants_have_the_same_id_and_neither_touches_the_others(
    tenancy: Module, file_of: Callable[[str], Path]
) -> None:
    acting_for = tenancy("context").acting_for
    with opened(tenancy, file_of("migrated")) as connection:
        store = tenancy("sqlite_store").TenantAwareStore(connection)
        for tenant in ("acme", "zenith", "acme"):
            with acting_for(tenant):
                store.put_entity("same", "robot", {"of": tenant})
        assert tenants_of(connection, "same") == ["acme", "zenith"]
        with acting_for("zenith"):
            assert store.entities("robot") == {"same": {"of": "zenith"}}


def test_before_the_new_key_an_id_of_another_tenant_is_taken_and_the_transaction_is_over(
    tenancy: Module, file_of: Callable[[str], Path]
) -> None:
    with opened(tenancy, file_of("unfilled")) as connection:
        connection.execute("CREATE TABLE tenantry_enabled (tenant TEXT PRIMARY KEY)")
        connection.execute("INSERT INTO tenantry_enabled VALUES ('acme')")
        with tenancy("context").acting_for("acme"), pytest.raises(tenancy("sqlite_store").TakenError):
            tenancy("sqlite_store").TenantAwareStore(connection).put_entity("e001", "robot", {})
        assert not connection.in_transaction


def test_until_a_tenant_is_enabled_it_works_for_the_legacy_one(
    tenancy: Module, file_of: Callable[[str], Path]
) -> None:
    with opened(tenancy, file_of("migrated")) as connection, tenancy("context").acting_for("acme"):
        store = tenancy("sqlite_store").TenantAwareStore(connection, legacy="default")
        store.put_entity("before", "robot", {})
        connection.execute("CREATE TABLE tenantry_enabled (tenant TEXT PRIMARY KEY)")
        connection.execute("INSERT INTO tenantry_enabled VALUES ('acme')")
        store.put_entity("after", "robot", {})
        assert (tenants_of(connection, "before"), tenants_of(connection, "after")) == (["default"], ["acme"])


def test_two_writers_wait_for_each_other_and_none_fails(
    tenancy: Module, file_of: Callable[[str], Path]
) -> None:
    path, failed = file_of("migrated"), list[BaseException]()

    def write(name: str) -> None:
        try:
            with opened(tenancy, path) as connection, tenancy("context").acting_for("acme"):
                store = tenancy("sqlite_store").TenantAwareStore(connection)
                for at in range(50):
                    store.put_entity(f"{name}{at}", "robot", {})
        except BaseException as error:  # noqa: BLE001  # shown below
            failed.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with opened(tenancy, path) as connection:
        found = connection.execute("SELECT count(*) FROM entities WHERE entity_type = 'robot'")
        assert found.fetchone() == (100,)


ASKS = """
SELECT id FROM entities WHERE tenant_id = 'org-1' AND id = 'e001'
SELECT count(*) FROM entities WHERE entity_type = 'person' AND tenant_id = 'org-1'
SELECT count(*) FROM entities WHERE tenant_id IN ('org-1', 'org-2')
SELECT e.id FROM relations AS r JOIN entities AS e ON e.id = r.source_id AND e.tenant_id = r.tenant_id WHERE r.tenant_id = 'org-1'
SELECT e.id, r.id FROM entities AS e LEFT JOIN relations AS r ON r.source_id = e.id AND r.tenant_id = e.tenant_id WHERE e.tenant_id = 'a'
SELECT id FROM entities AS e WHERE tenant_id = 'a' AND EXISTS (SELECT 1 FROM relations AS r WHERE r.tenant_id = e.tenant_id)
WITH own AS (SELECT * FROM entities WHERE tenant_id = 'org-1') SELECT id FROM own ORDER BY id LIMIT 1
UPDATE entities SET entity_type = 'x' WHERE id = 'e001' AND tenant_id = 'org-1'
DELETE FROM entities WHERE tenant_id = 'org-9'
INSERT INTO entities (id, entity_type, tenant_id) VALUES ('n1', 'x', 'org-1')
INSERT INTO entities (id, entity_type, tenant_id) VALUES ('n1', 'x', 'a') ON CONFLICT DO NOTHING
INSERT INTO entities (id, entity_type, tenant_id) VALUES ('n1', 'x', 'a') ON CONFLICT (id, tenant_id) DO UPDATE SET entity_type = 'y'
INSERT INTO entities (id, entity_type, tenant_id) SELECT id, 'y', 'b' FROM entities WHERE tenant_id = 'org-1'
SELECT label FROM kinds WHERE name = 'person'
SELECT k.label, e.id FROM kinds AS k JOIN entities AS e ON e.entity_type = k.name WHERE e.tenant_id = 'org-1'
INSERT INTO kinds (name, label) VALUES ('a', 'b') ON CONFLICT (name) DO NOTHING
"""  # noqa: E501  # a statement to a line
ASKS_NOT = """
SELECT id FROM entities
SELECT count(*) FROM entities
SELECT id FROM entities WHERE id = 'e001'
SELECT id, tenant_id FROM entities WHERE id = 'e001' ORDER BY tenant_id
SELECT id FROM entities WHERE tenant_id = 'org-1' OR id = 'e001'
SELECT id FROM entities WHERE tenant_id = tenant_id
SELECT id FROM entities WHERE tenant_id >= 'org-1'
SELECT id FROM entities WHERE tenant_id LIKE 'org-1'
SELECT max(tenant_id) FROM entities
SELECT id FROM entities WHERE rowid = 1
SELECT e.id FROM relations AS r JOIN entities AS e ON e.id = r.source_id WHERE r.tenant_id = 'org-1'
SELECT label FROM kinds WHERE name IN (SELECT entity_type FROM entities)
SELECT id FROM people
UPDATE entities SET entity_type = 'x' WHERE id = 'e001'
DELETE FROM entities
DELETE FROM entities WHERE id = 'e001'
INSERT INTO entities (id, entity_type) VALUES ('n1', 'x')
INSERT INTO entities (id, entity_type, tenant_id) SELECT id, 'y', 'b' FROM entities
REPLACE INTO entities (id, entity_type) VALUES ('n1', 'x')
/* all of them */ -- really
SELECT id FROM entities
"""


def statements(text: str) -> list[str]:
    """One to a line, a comment with the line after it."""
    return re.findall(r"(?:/\*.*\n)?.+", text.strip())


@pytest.fixture
def connection(tenancy: Module, file_of: Callable[[str], Path]) -> Iterator[sqlite3.Connection]:
    with opened(tenancy, file_of("migrated")) as found:
        found.execute("CREATE TABLE kinds (name text PRIMARY KEY, label text)")
        yield found


@pytest.mark.parametrize("statement", statements(ASKS))
def test_a_statement_that_asks_for_its_tenant_passes(
    tenancy: Module, connection: sqlite3.Connection, statement: str
) -> None:
    with tenancy("unscoped").scoped(connection, TABLES):
        connection.execute(statement).fetchall()


@pytest.mark.parametrize("statement", statements(ASKS_NOT))
def test_one_that_asks_for_none_is_found(
    tenancy: Module, connection: sqlite3.Connection, statement: str
) -> None:
    unscoped = tenancy("unscoped")
    with pytest.raises(unscoped.UnscopedError, match="entities"), unscoped.scoped(connection, TABLES):
        connection.execute(statement).fetchall()


def test_what_is_meant_for_all_tenants_is_allowed_by_name(
    tenancy: Module, connection: sqlite3.Connection
) -> None:
    with tenancy("unscoped").scoped(connection, TABLES, allowed=["^SELECT count"]):
        connection.execute("SELECT count(*) FROM entities").fetchall()


def test_what_can_not_be_compiled_is_told_and_can_be_helped(
    tenancy: Module, connection: sqlite3.Connection
) -> None:
    def prepare(one: sqlite3.Connection) -> None:
        one.create_function("twice", 1, lambda text: text * 2)

    unscoped, asked = tenancy("unscoped"), "SELECT twice(id) FROM entities WHERE tenant_id = 'org-1'"
    prepare(connection)
    with pytest.raises(unscoped.UnscopedError, match="can't be told"), unscoped.scoped(connection, TABLES):
        connection.execute(asked).fetchall()
    with unscoped.scoped(connection, TABLES, prepare=prepare):
        connection.execute(asked).fetchall()


def test_the_store_passes_its_own_test(tenancy: Module, connection: sqlite3.Connection) -> None:
    store = tenancy("sqlite_store").TenantAwareStore(connection)
    with tenancy("unscoped").scoped(connection, TABLES), tenancy("context").acting_for("acme"):
        store.put_entity("new", "robot", {})
        store.put_entity("new", "robot", {})
        assert store.entities("robot") == {"new": {}}


@pytest.mark.parametrize("stage", STAGES)
def test_through_its_views_a_connection_reads_what_is_its_tenants_and_writes_as_ever(
    tenancy: Module, file_of: Callable[[str], Path], stage: str
) -> None:
    acting_for, everything = tenancy("context").acting_for, "SELECT count(*) FROM entities"
    with opened(tenancy, file_of(stage)) as connection:
        tenancy("sqlite_views").show_only_the_tenants(connection, TABLES)
        assert connection.execute(everything).fetchone() == ((200,) if stage != "migrated" else (0,))
        with acting_for("org-1"):
            named = ("", "") if stage == "unmigrated" else (", tenant_id", ", 'org-1'")
            connection.execute(
                f"INSERT INTO main.entities (id, entity_type{named[0]}) VALUES ('new', 'x'{named[1]})"
            )
            assert connection.execute(everything).fetchone() == ((201,) if stage != "migrated" else (51,))
        with acting_for("org-2"):
            assert connection.execute(everything).fetchone() == ((201,) if stage != "migrated" else (50,))


def test_a_read_through_a_view_takes_the_tenants_index_and_passes_as_scoped(
    tenancy: Module, connection: sqlite3.Connection
) -> None:
    views = tenancy("sqlite_views")
    views.show_only_the_tenants(connection, TABLES)
    lines = connection.execute("EXPLAIN QUERY PLAN SELECT id FROM entities").fetchall()
    assert [line[3] for line in lines] == [
        "SEARCH main.entities USING INDEX idx_entities_tenant (tenant_id=?)"
    ]

    def prepare(one: sqlite3.Connection) -> None:
        one.create_function("current_tenant", 0, lambda: None, deterministic=True)

    unscoped = tenancy("unscoped")
    with unscoped.scoped(connection, TABLES, prepare=prepare), tenancy("context").acting_for("org-1"):
        assert len(connection.execute("SELECT id FROM entities").fetchall()) == 50
    with pytest.raises(unscoped.UnscopedError), unscoped.scoped(connection, TABLES, prepare=prepare):
        connection.execute("SELECT id FROM main.entities").fetchall()


OF_FILES = Path(__file__).parents[2] / "docs" / "sqlite.md"


def blocks(language: str) -> list[str]:
    """The blocks of docs/sqlite.md in one language, without what they are indented by."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", OF_FILES.read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for text in found]


def test_the_plan_of_the_document_is_one_and_fits_a_file(tmp_path: Path) -> None:
    plan, verification = blocks("toml")
    path = tmp_path / "migration.toml"
    path.write_text(f"{plan}\n{verification}")
    read = read_plan(path)
    fitting.check(read)
    assert read.on_file
    assert read.verify.queries[0].max_ms == 50


def test_the_views_of_the_document_show_one_tenant_after_the_other(
    tenancy: Module, file_of: Callable[[str], Path]
) -> None:
    everything = "SELECT count(*), min(tenant_id), max(tenant_id) FROM entities"
    with opened(tenancy, file_of("migrated")) as connection:
        connection.executescript(blocks("sql")[0])
        assert connection.execute(everything).fetchone() == (0, None, None)
        for tenant in ("org-1", "org-2"):
            connection.execute("UPDATE temp.me SET tenant = ?", [tenant])
            assert connection.execute(everything).fetchone() == (50, tenant, tenant)


def test_the_question_of_the_document_is_answered_from_the_first_enable_on(
    tenancy: Module, file_of: Callable[[str], Path]
) -> None:
    path = file_of("migrated")
    plan = plan_of(path)
    with conductor.controller(plan) as file:
        serving.enable(file, plan, ["acme"])
    with opened(tenancy, path) as connection:
        for tenant, enabled in (("acme", 1), ("zenith", 0)):
            assert connection.execute(blocks("sql")[1], [tenant]).fetchone() == (enabled,)
            assert tenancy("sqlite_stage").is_enabled(connection, tenant) is bool(enabled)
