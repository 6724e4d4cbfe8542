"""The `locks:` lines of what `init` asks and of what a script says, held against the server's lock table."""

import pytest
from psycopg import sql

from sql.named import Statement
from sql.postgres import dry_run, proposal
from sql.postgres.catalog import OURS
from sql.postgres.connection import Connection
from sql.postgres.source import Rules, matches
from sql.tenant_source import Parent
from tests.lock_table import named, strongest

ENTITIES = sql.Identifier("graph_entities")
RELATIONS = sql.Identifier("graph_relations")
PROPERTIES = sql.Identifier("properties")
SOURCE = sql.Identifier("source_id")

_ASKED = proposal.STATEMENTS
_SCRIPT = dry_run.STATEMENTS
_FILL, _EXPECT = dry_run.fill(
    RELATIONS,
    Parent(parent="graph_entities", on={"source_id": "id"}),
    Rules("graph_relations", "tenant_id", "", "."),
)

CASES: list[tuple[Statement, sql.Composed, dict[str, object]]] = [
    (_ASKED.tables, _ASKED.tables.compose(), {"ours": list(OURS)}),
    (
        _ASKED.sample,
        sql.SQL("SELECT count(*) FROM {} AS t").format(proposal.sample(ENTITIES, share=50, most=100)),
        {},
    ),
    (
        _ASKED.known_in_column,
        _ASKED.known_in_column.compose(rows=ENTITIES, column=PROPERTIES),
        {"column": "properties"},
    ),
    (
        _ASKED.known_in_json,
        _ASKED.known_in_json.compose(rows=ENTITIES, column=PROPERTIES),
        {"column": "properties", "keys": ["org_id"]},
    ),
    (_ASKED.quoted, _ASKED.quoted.compose(), {"name": "order"}),
    (
        _ASKED.called,
        _ASKED.called.compose(rows=ENTITIES, column=sql.Identifier("entity_type")),
        {"pattern": "."},
    ),
    (
        _ASKED.found_there,
        _ASKED.found_there.compose(rows=RELATIONS, column=SOURCE, other=ENTITIES, key=sql.Identifier("id")),
        {},
    ),
    (
        _ASKED.untold,
        _ASKED.untold.compose(
            rows=RELATIONS,
            other=ENTITIES,
            named_nothing=sql.SQL("t.source_id IS NULL"),
            pairs=matches({"source_id": "id"}, "o", "t"),
        ),
        {},
    ),
    (_SCRIPT.session, dry_run.session(), {}),
    (_SCRIPT.announced, dry_run.announced([ENTITIES, RELATIONS]), {}),
    (_SCRIPT.fill, _FILL, {}),
    (_SCRIPT.expect_filled, _EXPECT, {}),
]


def test_every_statement_of_both_files_is_held_here() -> None:
    assert {statement.name for statement, _, _ in CASES} == {s.name for s in (*_ASKED, *_SCRIPT)}


@pytest.mark.parametrize(
    ("statement", "composed", "parameters"), CASES, ids=[statement.name for statement, _, _ in CASES]
)
def test_a_statement_takes_the_locks_that_its_line_names(
    connection: Connection, statement: Statement, composed: sql.Composed, parameters: dict[str, object]
) -> None:
    for table in (ENTITIES, RELATIONS):
        connection.execute(sql.SQL("ALTER TABLE {} ADD tenant_id text DEFAULT 'x'").format(table))
    # The list of tables reads the server's own catalog, which the lock table's reader leaves out.
    # And a sample locks the table that it is of, for the statement that it is a part of.
    expected = {"tables": set(), "sample": {"ACCESS SHARE"}}.get(statement.name, named(statement))
    with connection.transaction(force_rollback=True):
        connection.execute(composed, parameters or None)
        assert set(strongest(connection).values()) == expected
