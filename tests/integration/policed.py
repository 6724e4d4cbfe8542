"""The sample graph under policies, and sessions of the application, for the tests of row-level security."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from control.plan.model import Plan
from control.stage import Ground
from control.stages import rls
from sql.postgres.connection import Connection
from sql.postgres.rls import unscoped_accesses
from tests.integration.migrated import PLAN, ground, take
from tests.integration.reporting import report
from tests.waiting import until

#: Set the tenant of a session, or of a transaction.
TENANT = "SELECT set_config('app.current_tenant_id', %s, false)"
LOCAL_TENANT = "SELECT set_config('app.current_tenant_id', %s, true)"
SEEN = "SELECT count(*), count(DISTINCT tenant_id) FROM graph_entities"


def entities_in(mode: str, *, quiet: str = "100ms", tenant: dict[str, Any] | None = None, **rls: Any) -> Plan:
    """A plan with a policy for the entities alone, which ends in `mode`."""
    entities, relations = PLAN["tables"]
    entities = entities | {"rls": {"policy": "by_tenant", "mode": mode, "quiet": quiet} | rls}
    relations = {key: value for key, value in relations.items() if key != "rls"}
    return Plan.model_validate(PLAN | {"tenant": tenant or {}, "tables": [entities, relations]})


def taken(operator: Connection, plan: Plan, before: Ground | None = None) -> Ground:
    """The ground after the stage, confirmed; from the catalog `before` where there was a stage already."""
    original = None if before is None else before.original
    on = ground(operator, plan, original, confirmed=frozenset({"rls"}))
    take(rls.STAGE, on)
    return on


@contextmanager
def session_of(operator: Connection, role: str, **options: Any) -> Iterator[Connection]:
    """A session of the application, which begins without a tenant."""
    with psycopg.connect(operator.info.dsn, user=role, options="", autocommit=True, **options) as session:
        yield session


def make_role(operator: Connection, role: str) -> None:
    """A role that logs in; roles are the server's, and another test may have made it."""
    operator.execute(f"DO $$BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$$")


def row(session: Connection, statement: str) -> tuple[Any, ...]:
    """The only row of a query."""
    found = session.execute(statement).fetchone()
    assert found is not None
    return tuple(found)


def read_and_report(session: Connection) -> None:
    """Read, and have the session report what it counted while it goes on."""
    row(session, SEEN)
    report(session)


def counted(operator: Connection, calls: int) -> None:
    """Poll until that many accesses are counted: sessions report up to 10 s late, at their end at once."""
    until(lambda: unscoped_accesses(operator).calls >= calls, f"{calls} counted accesses")
