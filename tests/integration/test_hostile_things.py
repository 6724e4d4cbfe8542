"""Whatever lookups, roles, tenants and what hangs on a table are called, nothing of it is taken for SQL."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from control.conductor import confirm
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.writing import toml
from sql.postgres.connection import connect
from tests.integration.hostile import NAMES, forget, make, near, plan_for
from tests.integration.operating import Operator
from tests.integration.separated import Separating

_FIRST, *_MORE = NAMES
_EACH = pytest.mark.parametrize(
    "name", [_FIRST, *(pytest.param(name, marks=pytest.mark.full) for name in _MORE)], ids=range(len(NAMES))
)
#: The roles of a plan, its verifier and the tables' owner, by the letters that their names begin with.
_ROLES = {"controller": "j", "worker": "l", "exporter": "m"}


@pytest.fixture
def made(name: str, database: str) -> Iterator[str]:
    """A database with the tables of that name."""
    make(database, name)
    yield database
    forget(database, *(near(name, letter) for letter in ("r", "h", *_ROLES.values())))


@_EACH
@pytest.mark.parametrize("tenant", [{}, {"isolation": "separate_schema"}], ids=["shared", "separate"])
def test_a_migration_of_hostile_names_goes_there_and_back(
    name: str, tenant: dict[str, str], made: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    migration = Separating(plan_for(name, made, tenant), made, valkey.url, postgres)
    before = migration.schema()
    migration.to("backfill")
    if not tenant:
        with connect(made, "test") as connection:
            confirm(migration.plan, connection, "rls")
    migration.to("verify")
    with psycopg.connect(made) as session:
        schemas = session.execute("SELECT nspname FROM pg_namespace WHERE nspname ^@ 'tenant_'").fetchall()
    folded = name.lower().replace("-", "_")
    assert sorted(schemas) == [(f"tenant_{folded}{n}",) for n in range(3) if tenant]
    migration.back(None)
    assert migration.schema() == before


@_EACH
def test_a_script_for_psql_makes_what_it_says_and_no_more(
    name: str, made: str, tmp_path: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    operator = Operator(tmp_path, made, postgres, valkey.url)
    roles = {who: near(name, letter) for who, letter in _ROLES.items()}
    verify = {"quiet": "1ms", "role": near(name, "h")}
    plan = plan_for(name, "env:DATABASE_URL", {}, roles=roles, verify=verify)
    operator.plan.write_text(toml(plan), encoding="utf-8")
    for script in ("roles", "plan"):
        (tmp_path / script).write_text(operator.done(script, "--sql"), encoding="utf-8")
        postgres.run("psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", made, f"--file={tmp_path / script}")
    assert operator.count("SELECT count(*) FROM innocent") == 0
    with psycopg.connect(made) as session:
        asked = "SELECT count(*) FROM pg_roles WHERE rolname = ANY (%s)"
        assert session.execute(asked, [[*roles.values(), verify["role"]]]).fetchone() == (4,)


@_EACH
@pytest.mark.full
def test_roles_of_hostile_names_carry_a_migration_out(
    name: str, made: str, tmp_path: Path, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    operator = Operator(tmp_path, made, postgres, valkey.url)
    roles = {who: near(name, letter) for who, letter in _ROLES.items()}
    verify = {"quiet": "1ms", "role": near(name, "h")}
    plan = plan_for(name, "env:DATABASE_URL", {}, roles=roles, verify=verify, redis={"url": valkey.url})
    operator.plan.write_text(toml(plan), encoding="utf-8")
    (tmp_path / "roles").write_text(operator.done("roles", "--sql", "--assign"), encoding="utf-8")
    postgres.run("psql", "--no-psqlrc", made, f"--file={tmp_path / 'roles'}")
    before = operator.schema()
    controller, worker = (
        Operator(tmp_path, make_conninfo(made, user=roles[who]), postgres, valkey.url)
        for who in ("controller", "worker")
    )
    with worker.started("worker"):
        assert controller.tenantry("run", "--no-throttle").returncode == 3
        controller.done("confirm", "application")
        controller.done("confirm", "rls")
        controller.done("run", "--no-throttle")
        controller.done("tenants", "assign", name, "--from", f"{name}1", "--where", "true", "--yes")
        controller.done("tenants", "assign", "--undo", "--yes")
    controller.done("rollback", "--yes")
    assert operator.schema() == before
