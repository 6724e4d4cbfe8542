"""What goes along with what: trees, several levels, tables without a key; and the guard lets it pass."""

from pathlib import Path

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from tests.integration.operating import Operator, complaint
from tests.integration.rows import rows_of

_TABLES = """
CREATE TABLE orgs (id integer PRIMARY KEY, slug text NOT NULL);
CREATE TABLE folders (
    id integer PRIMARY KEY, above integer REFERENCES folders, org integer NOT NULL REFERENCES orgs
);
CREATE TABLE files (
    id integer PRIMARY KEY, folder integer NOT NULL REFERENCES folders ON DELETE CASCADE,
    pages integer GENERATED ALWAYS AS (id * 2) STORED, sizes json
);
CREATE TABLE marks (file integer NOT NULL REFERENCES files ON DELETE CASCADE, note text);
INSERT INTO orgs VALUES (1, 'umbra'), (2, 'default');
INSERT INTO folders SELECT n, CASE WHEN n > 6 THEN (n - 1) / 2 END, 2 FROM generate_series(1, 60) AS n;
INSERT INTO files (id, folder, sizes) SELECT n, n % 60 + 1, '{"a": 1}' FROM generate_series(1, 600) AS n;
INSERT INTO marks SELECT n % 600 + 1, 'mark ' || n FROM generate_series(1, 1200) AS n;
"""
_PLAN = """
name = "families"
[database]
url = "env:DATABASE_URL"
[tenant]
moves = "{moves}"
[[tables]]
name = "folders"
tenant.parent = "folders"
tenant.on = {{ above = "id" }}
tenant.otherwise = {{ lookup = "orgs", on = {{ org = "id" }}, column = "slug" }}
primary_key = ["tenant_id", "id"]
[[tables]]
name = "files"
tenant = {{ parent = "folders", on = {{ folder = "id" }} }}
primary_key = ["id", "tenant_id"]
[[tables]]
name = "marks"
tenant = {{ parent = "files", on = {{ file = "id" }} }}
"""
#: All below the folder 3, as the database tells it, and of whom it is.
_BELOW = """
WITH RECURSIVE below AS (
    SELECT id FROM folders WHERE id = 3 UNION SELECT f.id FROM folders AS f JOIN below AS b ON b.id = f.above
), of_folders AS (SELECT tenant_id, id IN (SELECT id FROM below) AS below FROM folders
), of_files AS (SELECT tenant_id, folder IN (SELECT id FROM below) AS below FROM files
), of_marks AS (
    SELECT m.tenant_id, f.folder IN (SELECT id FROM below) AS below
    FROM marks AS m JOIN files AS f ON f.id = m.file
)
SELECT 'folders', tenant_id, below, count(*) FROM of_folders GROUP BY 2, 3
UNION ALL SELECT 'files', tenant_id, below, count(*) FROM of_files GROUP BY 2, 3
UNION ALL SELECT 'marks', tenant_id, below, count(*) FROM of_marks GROUP BY 2, 3
"""


@pytest.fixture
def families(
    tmp_path: Path,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Operator:
    """An operator of a tree of folders, with files in them, and marks on those."""
    url: str = request.getfixturevalue("database")
    monkeypatch.setenv("DATABASE_URL", url)
    with psycopg.connect(url) as somebody:
        somebody.execute(_TABLES)
    (tmp_path / "migration.toml").write_text(_PLAN.format(moves=request.param))
    return Operator(tmp_path, url, postgres, valkey.url)


@pytest.mark.parametrize(
    ("families", "stage"),
    [("follow", "backfill"), ("refuse", "backfill"), ("follow", "keys")],
    indirect=["families"],
)
def test_all_below_a_row_goes_with_it_and_nothing_beside(families: Operator, stage: str) -> None:
    families.run_to("indexes", count=1)
    families.run_to(stage)
    before = rows_of(families.url)
    families.done("tenants", "assign", "acme", "--where", "id IN (3, 16)", "--no-throttle", "--yes")
    with psycopg.connect(families.url) as look:
        told = {(table, tenant, below) for table, tenant, below, _ in look.execute(_BELOW)}
        counts = {(table, tenant): n for table, tenant, _, n in look.execute(_BELOW)}
    assert told == {
        (table, *whose)
        for table in ("folders", "files", "marks")
        for whose in (("acme", True), ("default", False))
    }
    assert counts["folders", "acme"] == 15
    families.done("tenants", "assign", "--undo", "--yes", "--no-throttle")
    assert rows_of(families.url) == before


@pytest.mark.parametrize("families", ["follow"], indirect=True)
def test_a_row_does_not_go_without_the_one_above_it(families: Operator) -> None:
    families.run_to("indexes", count=1)
    refused = families.tenantry("tenants", "assign", "acme", "--where", "id = 15", "--yes")
    assert refused.returncode == 3
    assert (
        "1 rows of folders or the folders that they name by folders_above_fkey would go without the other"
        in (complaint(refused.stderr))
    )
