"""The store that the document gives the application, at every stage of the migration."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.stage import Ground
from control.stages import columns, indexes, keys, rls
from sql.postgres import tenants
from sql.postgres.connection import connect
from tests.application.stages import MIGRATED, STAGES, Databases
from tests.integration.migrated import fill, ground, plan_in, take, take_back

Module = Callable[[str], ModuleType]


@contextmanager
def session(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def store_on(
    tenancy: Module, connection: psycopg.Connection, *, every: float = 10, legacy: str | None = None
) -> Any:
    stages = tenancy("stage").Stages("graph_entities", every=every)
    return tenancy("store").TenantAwareStore(connection, stages, legacy=legacy)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """A type of entity that no other test writes."""
    return str(request.node.name)


def entity(tenant: str, name: str) -> dict[str, str]:
    return {"org_id": tenant, "name": name}


def tenant_of(postgres: EmbeddedPostgres, database: str, entity_id: str) -> str:
    with psycopg.connect(postgres.url(database)) as operator:
        ((tenant,),) = operator.execute(
            "SELECT tenant_id FROM graph_entities WHERE id = %s", [entity_id]
        ).fetchall()
    return str(tenant)


@pytest.mark.parametrize("stage", STAGES)
def test_a_tenant_reads_again_what_it_put_and_puts_again_what_is_there(
    databases: Databases, tenancy: Module, stage: str, kind: str
) -> None:
    with session(databases.url(stage)) as connection, tenancy("context").acting_for("org-01"):
        store = store_on(tenancy, connection)
        store.put_entity(kind, kind, entity("org-01", "first"))
        store.put_entity(kind, kind, entity("org-01", "second"))
        assert store.entities(kind) == {kind: entity("org-01", "second")}


@pytest.mark.parametrize("stage", STAGES[1:])
def test_what_a_tenant_puts_is_its_own_whatever_the_row_would_tell_the_guard(
    databases: Databases, tenancy: Module, stage: str, kind: str
) -> None:
    with session(databases.url(stage)) as connection, tenancy("context").acting_for("acme"):
        store_on(tenancy, connection).put_entity(kind, kind, entity("org-01", "of acme"))
    assert tenant_of(databases.postgres, databases.name(stage), kind) == "acme"


@pytest.mark.parametrize("stage", STAGES)
def test_every_row_that_was_there_is_read_even_before_the_backfill_has_come_to_it(
    databases: Databases, tenancy: Module, stage: str
) -> None:
    with session(databases.url(stage)) as connection, tenancy("context").acting_for("org-01"):
        store = store_on(tenancy, connection)
        own = [name for name, told in store.entities("person").items() if told["org_id"] == "org-01"]
    assert len([name for name in own if name.startswith("entity-")]) == 5


@pytest.mark.parametrize("stage", ["unmigrated", "unfilled", "halfway"])
def test_code_without_a_tenant_works_as_it_always_did_until_the_policies_come(
    databases: Databases, tenancy: Module, stage: str, kind: str
) -> None:
    with session(databases.url(stage)) as connection:
        store = store_on(tenancy, connection)
        store.put_entity(kind, kind, entity("org-02", "without"))
        assert store.entities(kind) == {kind: entity("org-02", "without")}
    if stage != "unmigrated":
        assert tenant_of(databases.postgres, databases.name(stage), kind) == "org-02"


@pytest.mark.parametrize("stage", MIGRATED)
def test_two_tenants_have_the_same_id_and_each_sees_and_changes_its_own(
    databases: Databases, tenancy: Module, stage: str, kind: str
) -> None:
    acting_for = tenancy("context").acting_for
    with session(databases.url(stage)) as connection:
        store = store_on(tenancy, connection)
        for tenant in ("org-01", "org-02", "org-01"):
            with acting_for(tenant):
                store.put_entity(kind, kind, entity(tenant, "same id"))
        for tenant in ("org-01", "org-02"):
            with acting_for(tenant):
                assert store.entities(kind) == {kind: entity(tenant, "same id")}


def test_conditions_of_the_store_keep_tenants_apart_where_no_policy_does(
    databases: Databases, copy_of: Callable[[str], str], tenancy: Module, kind: str
) -> None:
    database = copy_of("halfway")
    with connect(databases.postgres.url(database), "test") as operator:
        take(keys.STAGE, ground(operator, plan_in("strict")))
    acting_for = tenancy("context").acting_for
    with session(databases.postgres.url(database, "graph_app")) as connection:
        store = store_on(tenancy, connection)
        for tenant in ("org-01", "org-02", "org-01"):
            with acting_for(tenant):
                store.put_entity(kind, kind, entity(tenant, "same id"))
        with acting_for("org-02"):
            assert store.entities(kind) == {kind: entity("org-02", "same id")}


def test_one_store_goes_through_the_whole_migration_and_back(
    databases: Databases, copy_of: Callable[[str], str], tenancy: Module, kind: str
) -> None:
    database = copy_of("unmigrated")
    with (
        connect(databases.postgres.url(database), "test") as operator,
        session(databases.postgres.url(database, "graph_app")) as connection,
        tenancy("context").acting_for("org-01"),
    ):
        looking = store_on(tenancy, connection, every=0)
        never_again = store_on(tenancy, connection, every=3600)
        puts: dict[str, str] = {}

        def work(*stores: Any) -> None:
            for store in stores:
                new = f"new-{len(puts)}"
                for name in ("the same", new):
                    puts[name] = f"with {new}"
                    store.put_entity(name, kind, entity("org-01", puts[name]))
                assert store.entities(kind) == {name: entity("org-01", put) for name, put in puts.items()}

        on = ground(operator, plan_in("strict"))
        confirmed = Ground(on.plan, on.original, operator, on.memory, frozenset({"rls"}))
        work(looking, never_again)
        take(columns.STAGE, on)
        work(looking, never_again)
        fill(operator)
        take(indexes.STAGE, on)
        work(looking, never_again)
        take(keys.STAGE, on)
        work(looking, never_again)
        take(rls.STAGE, confirmed)
        work(looking, never_again)
        # One that has looked last at this end sees on the way back what is taken away.
        never_again = store_on(tenancy, connection, every=3600)
        for stage in (rls.STAGE, keys.STAGE, indexes.STAGE, columns.STAGE):
            work(looking, never_again)
            take_back(stage, on)
        work(looking, never_again)


def test_until_the_keys_an_id_is_one_tenants_and_another_is_told_so(
    databases: Databases, copy_of: Callable[[str], str], tenancy: Module, kind: str
) -> None:
    database = copy_of("halfway")
    with connect(databases.postgres.url(database), "test") as operator:
        tenants.enable(operator, ["org-01", "org-02"], "test")
    acting_for = tenancy("context").acting_for
    with session(databases.postgres.url(database, "graph_app")) as connection:
        store = store_on(tenancy, connection)
        with acting_for("org-01"):
            store.put_entity(kind, kind, entity("org-01", "taken"))
        with acting_for("org-02"), pytest.raises(tenancy("store").TakenError):
            store.put_entity(kind, kind, entity("org-02", "overwritten"))
        with acting_for("org-01"):
            assert store.entities(kind) == {kind: entity("org-01", "taken")}


@pytest.mark.parametrize("stage", ["halfway", "verified"])
def test_a_tenant_is_the_legacy_one_until_it_is_enabled(
    databases: Databases, copy_of: Callable[[str], str], tenancy: Module, stage: str, kind: str
) -> None:
    database = copy_of(stage)
    with (
        connect(databases.postgres.url(database), "test") as operator,
        session(databases.postgres.url(database, "graph_app")) as connection,
        tenancy("context").acting_for("acme"),
    ):
        store = store_on(tenancy, connection, legacy="default")
        assert tenancy("stage").is_enabled(connection, "acme") is False
        store.put_entity("before", kind, entity("acme", "before"))
        assert tenant_of(databases.postgres, database, "before") == "default"
        tenants.enable(operator, ["acme"], "test")
        assert tenancy("stage").is_enabled(connection, "acme") is True
        assert tenancy("stage").is_enabled(connection, "default") is False
        assert store.entities(kind) == {}
        store.put_entity("after", kind, entity("acme", "after"))
        assert tenant_of(databases.postgres, database, "after") == "acme"
        tenants.disable(operator, ["acme"])
        assert "before" in store.entities(kind)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("unmigrated", (False, False, False)),
        ("unfilled", (True, False, False)),
        ("halfway", (True, False, False)),
        ("permissive", (True, True, True)),
        ("strict", (True, True, True)),
        ("verified", (True, True, True)),
    ],
)
def test_the_stage_is_what_the_catalog_says_until_it_is_forgotten(
    databases: Databases, tenancy: Module, stage: str, expected: tuple[bool, bool, bool]
) -> None:
    module = tenancy("stage")
    stages = module.Stages("graph_entities", every=3600)
    with session(databases.url(stage)) as connection:
        assert stages.of(connection) == module.Stage(*expected)
    with session(databases.url("unmigrated")) as other:
        assert stages.of(other) == module.Stage(*expected)
        stages.forget()
        assert stages.of(other) == module.Stage(False, False, False)


@pytest.mark.parametrize("stage", STAGES)
def test_a_connection_that_is_not_in_autocommit_serves_as_well(
    databases: Databases, tenancy: Module, stage: str, kind: str
) -> None:
    with psycopg.connect(databases.url(stage)) as connection, tenancy("context").acting_for("org-03"):
        store = store_on(tenancy, connection)
        store.put_entity(kind, kind, entity("org-03", "kept"))
        connection.rollback()
        assert store.entities(kind) == {kind: entity("org-03", "kept")}
