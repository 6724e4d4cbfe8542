"""Rows that are copied to their new tenant after `keys`: trees of every shape, and what can't be copied."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from tests.integration.operating import Operator, complaint
from tests.integration.rows import rows_of

_TABLES = """
CREATE TABLE nodes (
    id integer PRIMARY KEY, above integer REFERENCES nodes, slug text UNIQUE,
    number bigint GENERATED ALWAYS AS IDENTITY (START 100)
);
CREATE TABLE leaves (id integer PRIMARY KEY, node integer NOT NULL REFERENCES nodes ON DELETE CASCADE);
"""
_PLAN = """
name = "copies"
[database]
url = "env:DATABASE_URL"
[backfill]
first_batch = 200
[[tables]]
name = "nodes"
tenant = { constant = "default" }
primary_key = ["id", "tenant_id"]
unique = ["nodes_slug_key"]
[[tables]]
name = "leaves"
tenant = { constant = "default" }
primary_key = ["id", "tenant_id"]
"""
#: The same with moments for keys.
_HOURS = """
CREATE FUNCTION hour(n integer) RETURNS timestamptz LANGUAGE SQL AS 'SELECT to_timestamp(3600 * n)';
CREATE CAST (integer AS timestamptz) WITH FUNCTION hour AS ASSIGNMENT;
CREATE TABLE nodes (id timestamptz PRIMARY KEY, above timestamptz, slug text UNIQUE);
CREATE TABLE leaves (id timestamptz PRIMARY KEY, node timestamptz NOT NULL REFERENCES nodes);
"""
Make = Callable[..., Operator]


@pytest.fixture
def made(
    tmp_path: Path,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Make:
    """Make an operator of nodes, as `above` says for each of so many, with a leaf on each."""
    url: str = request.getfixturevalue("database")
    monkeypatch.setenv("DATABASE_URL", url)
    (tmp_path / "migration.toml").write_text(_PLAN)

    def make(rows: int, above: str, *, tables: str = _TABLES) -> Operator:
        with psycopg.connect(url) as somebody:
            somebody.execute(tables.encode())
            somebody.execute(
                f"INSERT INTO nodes (id, above, slug) SELECT n, {above}, 's' || n "
                f"FROM generate_series(1, {rows}) AS n".encode()
            )
            somebody.execute("INSERT INTO leaves SELECT id, id FROM nodes")
        operator = Operator(tmp_path, url, postgres, valkey.url)
        operator.run_to("indexes")
        operator.run_to("keys")
        return operator

    return make


def _assign(where: str) -> tuple[str, ...]:
    return ("tenants", "assign", "acme", "--where", where, "--yes", "--no-throttle")


def _undo() -> tuple[str, ...]:
    return ("tenants", "assign", "--undo", "--yes", "--no-throttle")


def _left(operator: Operator) -> int:
    return operator.count(
        "SELECT (SELECT count(*) FROM nodes WHERE tenant_id <> 'acme')"
        " + (SELECT count(*) FROM leaves WHERE tenant_id <> 'acme')"
    )


@pytest.mark.parametrize(
    ("rows", "above"),
    [
        pytest.param(
            1_200, "CASE WHEN n <= 1100 THEN 1100 + n % 100 + 1 END", id="below rows of later batches"
        ),
        pytest.param(3, "1", id="below one that names itself"),
        pytest.param(70, "nullif(n - 1, 0)", id="a long chain"),
    ],
)
def test_a_tree_of_any_shape_goes_and_comes_back_as_it_was(made: Make, rows: int, above: str) -> None:
    operator = made(rows, above)
    before = rows_of(operator.url)
    operator.done(*_assign("above IS NULL OR above IN (1, id) OR above > 1100"))
    assert _left(operator) == 0
    operator.done(*_undo())
    assert rows_of(operator.url) == before


def _refused(operator: Operator, where: str) -> str:
    before = rows_of(operator.url)
    refused = operator.tenantry(*_assign(where))
    assert refused.returncode == 3, refused.stderr
    assert rows_of(operator.url) == before
    return complaint(refused.stderr)


def test_rows_in_a_circle_are_refused_and_those_below_it(made: Make) -> None:
    operator = made(4, "CASE n WHEN 1 THEN 2 WHEN 4 THEN 4 ELSE n - 1 END")
    assert "3 rows of nodes name each other in a circle, or one that does, such as 1" in _refused(
        operator, "true"
    )
    operator.done(*_assign("id = 4"))


def test_what_is_unique_in_the_new_tenant_is_looked_at_before_anything_goes(made: Make) -> None:
    operator = made(4, "NULL")
    with psycopg.connect(operator.url) as somebody:
        somebody.execute("INSERT INTO nodes (id, slug, tenant_id) VALUES (7, 's3', 'acme')")
    assert "1 rows of nodes have a (slug) that acme has too, such as s3" in _refused(operator, "id < 5")
    operator.done(*_assign("id < 3"))


def test_what_excludes_a_second_row_without_the_tenant_is_as_good_as_unique(made: Make) -> None:
    excluding = _TABLES.replace("slug text UNIQUE", "slug text UNIQUE, EXCLUDE USING btree (slug WITH =)")
    operator = made(4, "NULL", tables=excluding)
    assert "nodes_slug_excl of nodes is unique without the tenant" in _refused(operator, "true")


def test_a_key_that_is_a_moment_is_known_again_in_another_time_zone(made: Make) -> None:
    operator = made(4, "NULL", tables=_HOURS)
    operator.done(*_assign("true"))
    with psycopg.connect(operator.url) as somebody:
        database = sql.Identifier(somebody.info.dbname)
        somebody.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'").format(database))
    operator.done(*_undo())
    assert _left(operator) == 8
