"""What `init` proposes of a database with everything in it runs to the end as it is."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.proposal import propose
from sql.postgres.connection import connect
from tests.integration.operating import Operator
from tests.integration.test_proposal_doubts import APP


@pytest.mark.full
def test_lookups_trees_and_chains_go_through_all_stages_as_proposed(
    database: str,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    with connect(database, "test") as connection:
        connection.execute(APP.encode())
        # Called as the slug is, so that the others are looked up.
        connection.execute("UPDATE invoices SET organisation = 'acme'; INSERT INTO tags VALUES (1)")
        connection.execute("INSERT INTO document_tags VALUES (1, 1), (3, 1)")
        proposed = propose(connection, url="env:DATABASE_URL")
    (tmp_path / "migration.toml").write_text(proposed.replace('quiet = "10m"', 'quiet = "1s"'))
    operator = Operator(tmp_path, database, postgres, valkey.url)
    operator.done("check")
    operator.run_to("indexes", count=2)
    operator.run_to("keys", count=2)
    operator.done("confirm", "rls")
    operator.done("run")
    told = {"users": 2, "folders": 1, "documents": 1, "comments": 1, "document_tags": 1, "visits": 0}
    with psycopg.connect(database) as connection:
        for table, of_umbra in told.items():
            counted = sql.SQL("SELECT tenant_id, count(*) FROM {} GROUP BY 1").format(sql.Identifier(table))
            found: dict[str, int] = dict(connection.execute(counted).fetchall())
            assert found.get("umbra", 0) == of_umbra, table
            assert set(found) <= {"acme", "umbra"}, table
