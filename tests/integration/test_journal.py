"""The journal's check finds what is broken, and names only that.

One application works once, on a schema with tenants, in both codes; each test breaks one thing in a
transaction that is rolled back.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from control.demo import journal, sample
from control.demo.application_process import ApplicationProcess
from control.demo.entries import DeleteEntry, Journal, SharedEntry, read
from control.embedded.postgres import EmbeddedPostgres
from tests.conftest import SAMPLE_ENTITIES
from tests.integration import two_codes
from tests.integration.test_application import settings, work


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journal")


@pytest.fixture(scope="module")
def worked(postgres: EmbeddedPostgres, sample_template: str, folder: Path) -> str:
    """The URL of a sample on which the application worked, in the old code and then in the new."""
    name = sql.Identifier("journal_worked")
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(sample_template))
        )
    url = postgres.url("journal_worked")
    with psycopg.connect(url, autocommit=True) as connection:
        two_codes.add_tenants(connection)
    with ApplicationProcess(settings(url, folder, rate=600)) as application:
        work(application, 600)
        application.switch("new")
        work(application, 600)
        assert application.stop().errors == 0
    return url


@pytest.fixture
def broken(worked: str) -> Iterator[psycopg.Connection]:
    """A connection to break something with, in a transaction that is rolled back."""
    with psycopg.connect(worked) as connection:
        yield connection
        connection.rollback()


def failing(
    connection: psycopg.Connection, folder: Path, tenant_column: str | None = "tenant_id"
) -> set[str]:
    result = journal.check(connection, folder, entities=SAMPLE_ENTITIES, tenant_column=tenant_column)
    assert result.ok == all(check.ok for check in result.checks)
    return {check.name for check in result.checks if not check.ok}


def change(connection: psycopg.Connection, statement: str) -> None:
    """Execute a statement that must touch rows."""
    assert connection.execute(statement.encode()).rowcount > 0


def deletes(folder: Path) -> list[DeleteEntry]:
    return [entry for entries in read(folder) for entry in entries if isinstance(entry, DeleteEntry)]


#: An entity without relations, so that nothing else goes with it.
LONELY = """
  (SELECT e.id FROM graph_entities AS e
   WHERE e.id LIKE '{kind}-%'
     AND NOT EXISTS (SELECT FROM graph_relations AS r WHERE e.id IN (r.source_id, r.target_id))
   LIMIT 1)
"""
#: The first row that the application inserted.
FIRST = "(SELECT min(id) FROM graph_{of} WHERE id LIKE 'live-%')"
LAST_OF_SAMPLE = "(SELECT max(id) FROM graph_relations WHERE id LIKE 'relation-%')"
#: An entity of the sample that the application did not write to.
UNTOUCHED = "(SELECT min(id) FROM graph_entities WHERE NOT properties ? 'revision')"
OTHER_VALUE = """properties = properties || '{"revision": 0}'"""
OTHER_ORG = """properties = properties || '{"org_id": "org-50"}'"""


@pytest.mark.parametrize("tenant_column", ["tenant_id", None])
def test_nothing_is_found_where_everything_is_as_it_was_promised(
    broken: psycopg.Connection, folder: Path, tenant_column: str | None
) -> None:
    assert failing(broken, folder, tenant_column) == set()


@pytest.mark.parametrize(
    ("breaking", "found"),
    [
        (f"DELETE FROM graph_entities WHERE id = {LONELY.format(kind='live')}", "entities there"),
        (f"DELETE FROM graph_entities WHERE id = {LONELY.format(kind='shared')}", "shared entities"),
        (
            f"UPDATE graph_entities SET {OTHER_VALUE} WHERE id = {FIRST.format(of='entities')}",
            "entity values",
        ),
        (f"UPDATE graph_entities SET {OTHER_ORG} WHERE id = {UNTOUCHED}", "entity values"),
        (
            f"UPDATE graph_entities SET {OTHER_VALUE} WHERE id = {LONELY.format(kind='shared')}",
            "shared entities",
        ),
        (f"DELETE FROM graph_relations WHERE id = {FIRST.format(of='relations')}", "relations there"),
        (f"DELETE FROM graph_relations WHERE id = {LAST_OF_SAMPLE}", "relations there"),
        (
            f"UPDATE graph_relations SET weight = 17 WHERE id = {FIRST.format(of='relations')}",
            "relation values",
        ),
        (f"UPDATE graph_relations SET target_id = source_id WHERE id = {LAST_OF_SAMPLE}", "relation values"),
        ("INSERT INTO graph_entities (id, tenant_id, entity_type) VALUES ('a', 'org-00', 'b')", "totals"),
        (f"UPDATE graph_entities SET tenant_id = 'x' WHERE id = {LONELY.format(kind='live')}", "tenants"),
        (f"UPDATE graph_entities SET tenant_id = 'x' WHERE id = {LONELY.format(kind='shared')}", "tenants"),
    ],
)
def test_one_broken_row_is_found_by_its_check_and_by_no_other(
    broken: psycopg.Connection, folder: Path, breaking: str, found: str
) -> None:
    change(broken, breaking)
    assert failing(broken, folder) == {found}


def test_a_deleted_entity_that_is_back_is_found(broken: psycopg.Connection, folder: Path) -> None:
    gone = deletes(folder)[0]
    broken.execute(
        "INSERT INTO graph_entities (id, tenant_id, entity_type) VALUES (%s, %s, 'person')",
        [gone.id, gone.org],
    )
    assert failing(broken, folder) == {"deletes"}


def test_a_relation_that_did_not_go_with_its_end_is_found_as_such_and_as_an_orphan(
    broken: psycopg.Connection, folder: Path
) -> None:
    gone = next(entry for entry in deletes(folder) if entry.relations)
    assert gone.relations is not None
    # The foreign keys' triggers rest, as they would if a cascade had been lost with its foreign key.
    broken.execute("SET LOCAL session_replication_role = replica")
    broken.execute(
        "INSERT INTO graph_relations (id, tenant_id, relation_type, source_id, target_id)"
        " VALUES (%s, %s, 'knows', %s, %s)",
        [gone.relations[0], gone.org, gone.id, gone.id],
    )
    assert failing(broken, folder) == {"cascades", "orphans"}


def test_a_relation_under_another_tenant_than_its_ends_is_found_as_such_and_as_an_orphan(
    broken: psycopg.Connection, folder: Path
) -> None:
    change(
        broken, "UPDATE graph_relations SET tenant_id = 'x' WHERE id = (SELECT max(id) FROM graph_relations)"
    )
    assert failing(broken, folder) == {"tenants", "orphans"}


def test_one_id_under_two_tenants_is_found_as_a_row_that_nobody_wrote(
    broken: psycopg.Connection, folder: Path
) -> None:
    broken.execute("ALTER TABLE graph_entities DROP CONSTRAINT graph_entities_pkey CASCADE")
    change(
        broken,
        "INSERT INTO graph_entities (id, tenant_id, entity_type, properties)"
        " SELECT id, tenant_id || '-twin', entity_type, properties FROM graph_entities"
        " WHERE id = (SELECT max(id) FROM graph_entities WHERE id LIKE 'entity-%')",
    )
    assert failing(broken, folder) == {"totals", "tenants"}


def test_a_delete_that_did_not_name_what_went_with_it_is_found(
    broken: psycopg.Connection, folder: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(folder, tmp_path / "journal")
    entry = next(entry for entry in deletes(folder) if entry.relations)
    for path in copied.glob("*.jsonl"):
        text = path.read_text(encoding="utf-8")
        silent = entry.model_copy(update={"relations": ()})
        path.write_text(text.replace(entry.model_dump_json(), silent.model_dump_json()), encoding="utf-8")
    assert failing(broken, copied) == {"cascades told"}


def test_a_journal_cut_short_is_found(broken: psycopg.Connection, folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "journal")
    path = copied / "connection-2.jsonl"
    path.write_text(
        "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8"
    )
    assert failing(broken, copied) == {"journal complete"}


@pytest.mark.parametrize(
    ("value", "found"),
    [("first", {"shared entities"}), ("last", set()), ("doubtful", set()), ("other", set())],
)
def test_a_shared_entity_holds_the_last_value_of_a_connection_or_one_whose_answer_was_lost(
    connection: psycopg.Connection, tmp_path: Path, value: str, found: set[str]
) -> None:
    org = sample.organisation(0)
    for number, values in enumerate((["first", "last", "doubtful"], ["other"])):
        writer = Journal(tmp_path, number)
        for each in values:
            properties = {"org_id": org, "value": each}
            writer.write(SharedEntry(id="shared", org=org, properties=properties, sure=each != "doubtful"))
        writer.end()
        writer.close()
    connection.execute(
        "INSERT INTO graph_entities (id, entity_type, properties)"
        " VALUES ('shared', 'concept', jsonb_build_object('org_id', %s::text, 'value', %s::text))",
        [org, value],
    )
    assert failing(connection, tmp_path, None) == found
