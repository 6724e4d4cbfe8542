"""Rows that go from one tenant to another by `tenants assign`, with what goes along, and back."""

import json
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import psycopg
import pytest

from tests.integration.operating import Operator, complaint, nobody
from tests.integration.rows import rows_of
from tests.waiting import until

_OF_ORG = "properties->>'org_id' = 'org-01'"
_OF_MANY = "properties->>'org_id' < 'org-25'"
_COUNTS = (
    "SELECT 'entities', tenant_id, count(*) FROM graph_entities GROUP BY 2 UNION ALL "
    "SELECT 'relations', tenant_id, count(*) FROM graph_relations GROUP BY 2"
)
#: Entities of the wrong tenant, and relations of another than their ends.
_WRONG = f"""
SELECT (SELECT count(*) FROM graph_entities WHERE ({_OF_MANY}) <> (tenant_id = 'acme'))
     + (SELECT count(*) FROM graph_relations AS r
        JOIN graph_entities AS e ON e.id IN (r.source_id, r.target_id) WHERE e.tenant_id <> r.tenant_id)
"""


def _assign(where: str, *more: str) -> tuple[str, ...]:
    return ("tenants", "assign", "acme", "--where", where, "--yes", "--no-throttle", *more)


@pytest.fixture
def single(operator: Operator) -> Operator:
    """An operator whose plan gives every row to one tenant, as of most single-tenant applications."""
    text = operator.plan.read_text()
    one = re.sub(r"^tenant = .*$", 'tenant = { constant = "default" }', text, flags=re.MULTILINE)
    operator.plan.write_text(
        one.replace('mode = "strict", quiet = "1s"', 'mode = "observe", quiet = "100ms"')
    )
    return operator


@pytest.fixture(params=["backfill", "verify"])
def ready(single: Operator, request: pytest.FixtureRequest) -> Operator:
    """The same with the migration as far as that stage: before the keys have the tenant, and after."""
    if request.param == "verify":
        single.run_to("indexes")
        single.run_to("keys")
    single.run_to(request.param)
    return single


def _counts(operator: Operator) -> dict[tuple[str, str], int]:
    with psycopg.connect(operator.url) as look:
        return {(table, tenant): rows for table, tenant, rows in look.execute(_COUNTS)}


def test_rows_and_what_goes_along_with_them_go_and_come_back(ready: Operator) -> None:
    before, state = (
        rows_of(ready.url),
        ready.count("SELECT count(*) FROM tenantry.migrations WHERE state = 'complete'"),
    )
    told = json.loads(ready.done(*_assign(_OF_ORG, "--json")))
    assert told["rows"] == {"graph_entities": 40, "graph_relations": 80}
    counts = _counts(ready)
    assert counts["entities", "acme"] == ready.count(f"SELECT count(*) FROM graph_entities WHERE {_OF_ORG}")
    assert counts == {
        ("entities", "acme"): 40,
        ("entities", "default"): 1960,
        ("relations", "acme"): 80,
        ("relations", "default"): 3920,
    }
    (acme,) = [one for one in json.loads(ready.done("tenants", "list", "--json")) if one["tenant"] == "acme"]
    assert acme["rows"] == {"graph_entities": 40, "graph_relations": 80}
    if state:
        ready.done("verify")
    ready.done("tenants", "assign", "--undo", "--yes")
    assert rows_of(ready.url) == before
    assert state == ready.count("SELECT count(*) FROM tenantry.migrations WHERE state = 'complete'")
    refused = ready.tenantry("tenants", "assign", "--undo", "--yes")
    assert "no assignment is left to take back" in complaint(refused.stderr)


def test_edges_are_not_torn_apart_and_nothing_is_changed_for_the_trying(ready: Operator) -> None:
    before = rows_of(ready.url)
    refused = ready.tenantry(*_assign("id < 'entity-0000000100'"))
    assert refused.returncode == 3
    assert "that they name by graph_relations_target_id_fkey would go without the other" in complaint(
        refused.stderr
    )
    assert rows_of(ready.url) == before
    refused = ready.tenantry(*_assign("owner = 7"))
    assert refused.returncode == 2
    assert 'column "owner" does not exist' in complaint(refused.stderr)
    refused = ready.tenantry(*_assign("id = 'nobody'"))
    assert "no row of default is where id = 'nobody'" in complaint(refused.stderr)


def keys_are_old(operator: Operator) -> bool:
    """Whether the stage `keys` is still to come."""
    return not operator.count("SELECT count(*) FROM tenantry.stages WHERE name = 'keys' AND state = 'done'")


@contextmanager
def _writing(
    *writers: Callable[[psycopg.Connection, Random], None], url: str
) -> Iterator[list[BaseException]]:
    """Applications at work, each over and over again in a thread of its own; what they failed with."""
    over, failed = threading.Event(), list[BaseException]()

    def work(write: Callable[[psycopg.Connection, Random], None], seed: int) -> None:
        chance = Random(seed)
        with psycopg.connect(url, autocommit=True) as connection:
            while not over.is_set():
                try:
                    write(connection, chance)
                except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                    continue
                except psycopg.Error as error:
                    failed.append(error)

    threads = [threading.Thread(target=work, args=(write, seed)) for seed, write in enumerate(writers)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_what_an_application_writes_meanwhile_is_neither_lost_nor_left_behind(ready: Operator) -> None:
    """It counts in rows that go, deletes such rows, points to them anew, and takes such edges away."""
    counted, deleted, edges = Counter[str](), set[str](), {"": ""}
    one = (
        "(SELECT id, tenant_id FROM graph_entities WHERE id = %s ORDER BY tenant_id DESC LIMIT 1 FOR UPDATE)"
    )

    def count(connection: psycopg.Connection, chance: Random) -> None:
        id_ = f"entity-{chance.randrange(1, 2001):010d}"
        bump = (
            "UPDATE graph_entities SET properties = "
            "  jsonb_set(properties, '{n}', to_jsonb(coalesce((properties->>'n')::int, 0) + 1)) "
            f"WHERE (id, tenant_id) = {one}"
        )
        counted[id_] += connection.execute(bump.encode(), [id_]).rowcount

    def point(connection: psycopg.Connection, chance: Random) -> None:
        """As code that knows the tenant writes: in that of the ends, as they are."""
        new, id_ = f"new-{len(edges)}", f"entity-{chance.randrange(1, 2001):010d}"
        pointed = connection.execute(
            "INSERT INTO graph_relations (id, relation_type, source_id, target_id, tenant_id) "
            "SELECT %s, 'new', s.id, s.id, s.tenant_id FROM graph_entities AS s WHERE s.id = %s "
            "ORDER BY s.tenant_id DESC LIMIT 1 FOR KEY SHARE",
            [new, id_],
        )
        if pointed.rowcount:
            edges[new] = id_
        if chance.random() < 0.2:
            taken = chance.choice(list(edges))
            connection.execute("DELETE FROM graph_relations WHERE id = %s", [taken])
            edges[taken] = ""

    def delete(connection: psycopg.Connection, chance: Random) -> None:
        """Of those that are on their way."""
        on_the_way = connection.execute(
            "SELECT key[1] FROM tenantry.assigned WHERE of_table = 'graph_entities' AND NOT settled"
        ).fetchall()
        if on_the_way and len(deleted) < 300:
            id_ = chance.choice(on_the_way)[0]
            statement = f"DELETE FROM graph_entities WHERE (id, tenant_id) = {one}"
            deleted.update([id_] * connection.execute(statement.encode(), [id_]).rowcount)

    with _writing(count, point, delete, url=ready.url) as failed:
        ready.done(*_assign(_OF_MANY))
    assert ready.count(_WRONG) == 0
    with psycopg.connect(ready.url) as look:
        found: dict[str, int] = dict(
            look.execute("SELECT id, coalesce((properties->>'n')::int, 0) FROM graph_entities").fetchall()
        )
        pointing = {id_ for (id_,) in look.execute("SELECT id FROM graph_relations WHERE id LIKE 'new-%'")}
    assert not deleted & found.keys()
    assert len(found) == 2000 - len(deleted)
    assert {id_: n for id_, n in found.items() if n} == {i: n for i, n in counted.items() if i in found and n}
    assert pointing == {new for new, id_ in edges.items() if id_ in found}
    assert {type(error) for error in failed} <= {psycopg.errors.ForeignKeyViolation}, failed
    assert counted.total() > 0
    assert deleted


def test_one_that_is_killed_goes_on_where_it_was_and_nothing_else_may_begin(ready: Operator) -> None:
    before = rows_of(ready.url)
    with ready.started(*_assign(_OF_MANY)) as process:
        until(lambda: ready.count("SELECT count(*) FROM tenantry.assigned") > 0, "the first rows to go")
        process.send_signal(signal.SIGKILL)
        process.wait()
    refused = ready.tenantry(*_assign(_OF_ORG))
    assert refused.returncode == 3
    assert "another was broken off" in complaint(refused.stderr)
    for command in [("run",)] if keys_are_old(ready) else [("run",), ("rollback", "--yes")]:
        refused = ready.tenantry(*command)
        assert refused.returncode == 3
        assert "rows are half way: default to acme" in complaint(refused.stderr)
    ready.done(*_assign(_OF_MANY))
    assert ready.count(_WRONG) == 0
    assert ready.count("SELECT count(*) FROM graph_entities") == 2000
    ready.done("tenants", "assign", "--undo", "--yes")
    assert rows_of(ready.url) == before


def test_what_old_code_writes_for_a_row_that_went_is_found_before_the_keys_and_may_go_too(
    single: Operator,
) -> None:
    single.run_to("indexes", count=1)
    single.done(*_assign(_OF_ORG))
    with psycopg.connect(single.url) as old_code:
        old_code.execute(
            "INSERT INTO graph_relations (id, relation_type, source_id, target_id) "
            "SELECT 'new', 'new', min(id), max(id) FROM graph_entities WHERE tenant_id = 'acme'"
        )
    single.done("confirm", "application")
    refused = single.tenantry("run", "--to", "keys")
    assert refused.returncode == 3
    assert "1 rows of graph_relations name another tenant's graph_entities" in complaint(refused.stderr)
    single.done(*_assign("id = 'new'", "--table", "graph_relations"))
    single.done("run", "--to", "keys")


def test_the_application_reads_in_one_query_whom_it_may_treat_as_migrated(single: Operator) -> None:
    single.run_to("columns")
    asked = "SELECT EXISTS (SELECT FROM tenantry_tenants.enabled WHERE tenant = 'acme')::int"
    assert single.done("tenants", "enable", "acme", "umbra") == "enabled: acme, umbra\n"
    assert single.done("tenants", "enable", "acme") == "all of them were enabled before\n"
    with psycopg.connect(single.url) as application:
        application.execute("SET ROLE graph_app")
        assert application.execute(asked).fetchone() == (1,)
    told = {one["tenant"]: one for one in json.loads(single.done("tenants", "list", "--json"))}
    assert told["acme"]["enabled_since"]
    assert told["acme"]["rows"] == {}
    assert told["default"]["rows"] == {"graph_entities": 2000, "graph_relations": 4000}
    assert told["default"]["enabled_since"] is None
    assert told["default"]["last_activity"]
    assert single.done("tenants", "disable", "acme") == "disabled: acme\n"
    assert single.count(asked) == 0
    refused = single.tenantry("tenants", "enable", "no tenant")
    assert refused.returncode == 2
    kinds = [
        event["message"]
        for event in json.loads(single.done("events", "--json"))
        if event["kind"] == "tenants"
    ]
    assert kinds == ["enabled: acme, umbra", "all of them were enabled before", "disabled: acme"]
    single.back_to(None, nobody)
    assert "tenantry" not in single.schema()
