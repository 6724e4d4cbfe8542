"""The `locks:` lines of the demo's statements, held against pg_locks."""

from pathlib import Path

import psycopg
from psycopg import sql as composing
from psycopg.types.json import Jsonb

import sql.postgres
from control.demo import sample as sample_graph
from sql.named import load
from tests.integration import two_codes
from tests.lock_table import MODES, named, strongest

FOLDER = Path(sql.postgres.__file__).parent
SOURCE = sample_graph.entity_key(1)
PARAMETERS = {
    "tenant": sample_graph.organisation(1),
    "type": "concept",
    "source": SOURCE,
    "target": sample_graph.entity_key(51),
    "properties": Jsonb({"org_id": sample_graph.organisation(1)}),
    "weight": 1.0,
}


def taken(connection: psycopg.Connection) -> set[str]:
    """The strongest mode that this transaction holds on each table of the sample."""
    sample = ("graph_entities", "graph_relations")
    return {mode for table, mode in strongest(connection).items() if table in sample}


def test_the_application_s_statements_take_the_locks_that_they_name(connection: psycopg.Connection) -> None:
    two_codes.add_tenants(connection)
    ids = {
        "insert_entity": "new",
        "insert_relation": "new",
        "read_relation": sample_graph.relation_key(1),
    }
    for file in ("application_old", "application_new"):
        for statement in load(FOLDER, file):
            parameters = PARAMETERS | {"id": ids.get(statement.name, SOURCE)}
            with connection.transaction(force_rollback=True):
                assert connection.execute(statement.compose(), parameters).rowcount > 0, statement.name
                assert taken(connection) == named(statement), f"{file}.{statement.name}"


def test_the_strongest_lock_of_the_sample_s_statements_is_named(connection: psycopg.Connection) -> None:
    statements = load(FOLDER, "sample")
    sign = composing.Literal("a sample")
    for statement in (statements.grant, statements.drop_keys, statements.empty, statements.sign):
        with connection.transaction(force_rollback=True):
            connection.execute(statement.compose(sign=sign))
            assert taken(connection) == {max(named(statement), key=MODES.index)}, statement.name
    connection.execute(statements.drop_keys.compose())
    with connection.transaction(force_rollback=True):
        connection.execute(statements.create_keys.compose())
        assert taken(connection) == {max(named(statements.create_keys), key=MODES.index)}


def test_the_check_takes_no_lock_that_a_writer_waits_for(connection: psycopg.Connection) -> None:
    journal = load(FOLDER, "journal")
    size = {"entities": 2_000, "relations": 4_000, "organisations": 50}
    fragments = {
        "tenant": composing.SQL("e.org"),
        "same_source": composing.SQL("true"),
        "same_target": composing.SQL("true"),
    }
    reading = (
        journal.entities,
        journal.shared,
        journal.deleted,
        journal.relations,
        journal.orphans,
        journal.totals,
    )
    for statement in reading:
        with connection.transaction(force_rollback=True):
            for each in journal:
                if each.name.startswith("create_"):
                    connection.execute(each.compose())
            connection.execute(statement.compose(**fragments), size if "%(" in statement.text else None)
            assert taken(connection) == named(statement) == {"ACCESS SHARE"}, statement.name
