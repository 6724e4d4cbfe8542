"""The document's TenantAwareStore: in both modes, before, during and after the migration, and across it."""

import psycopg
import pytest
from psycopg import errors

from control.stages import columns
from sql.postgres import tenants
from sql.postgres.connection import connect
from tests.application.conftest import Named
from tests.integration.migrated import ground, plan, take, take_back

_OF = "SELECT tenant_id, entity_type, properties->>'n' FROM graph_entities WHERE id = 'new' ORDER BY 1"
_WITHOUT = "SELECT entity_type, properties->>'n' FROM graph_entities WHERE id = 'new'"


def test_with_a_tenant_it_writes_and_reads_that_tenants_rows(
    named: Named, application: psycopg.Connection, operator: psycopg.Connection, state: str
) -> None:
    store = named("store").TenantAwareStore(application, multi_tenancy_enabled=True)
    store.add_entity("new", "person", {"org_id": "acme", "n": 1}, tenant_id="acme")
    store.add_entity("new", "place", {"org_id": "acme", "n": 2}, tenant_id="acme")
    assert store.entity("new", tenant_id="acme") == {"org_id": "acme", "n": 2}
    told = operator.execute(_WITHOUT if state == "unmigrated" else _OF).fetchall()
    assert [row[-2:] for row in told] == [("place", "2")]
    assert state == "unmigrated" or told[0][0] == "acme"
    assert (store.entity("new", tenant_id="umbra") is None) == (state != "unmigrated")


def test_without_multi_tenancy_it_works_as_it_always_did_until_the_policies_are_strict(
    named: Named, application: psycopg.Connection, operator: psycopg.Connection, state: str
) -> None:
    store = named("store").TenantAwareStore(application)
    assert store.get_context("acme") is None
    if state == "migrated":
        assert store.entity("entity-0000000001") is None
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            store.add_entity("new", "person", {"org_id": "acme"}, tenant_id="acme")
        return
    store.add_entity("new", "person", {"org_id": "acme", "n": 1}, tenant_id="acme")
    store.add_entity("new", "place", {"org_id": "acme", "n": 2})
    assert store.entity("new") == {"org_id": "acme", "n": 2}
    if state == "half way":
        assert operator.execute(_OF).fetchall() == [("acme", "place", "2")], "by the guard"


@pytest.mark.parametrize("state", ["migrated"], indirect=True)
def test_two_tenants_may_have_the_same_id_in_the_end(named: Named, operator: psycopg.Connection) -> None:
    """By a role that no policy holds: what it writes and reads is the tenant's all the same."""
    store = named("store").TenantAwareStore(operator, multi_tenancy_enabled=True)
    for tenant in ("acme", "umbra", "acme"):
        store.add_entity("new", tenant, {"of": tenant}, tenant_id=tenant)
    assert [row[:2] for row in operator.execute(_OF)] == [("acme", "acme"), ("umbra", "umbra")]
    assert store.entity("new", tenant_id="umbra") == {"of": "umbra"}


@pytest.mark.parametrize("state", ["unmigrated"], indirect=True)
def test_a_store_that_is_there_for_longer_than_the_schema_goes_on_through_the_change_and_back(
    named: Named, application: psycopg.Connection, operator: psycopg.Connection
) -> None:
    store = named("store").TenantAwareStore(application, multi_tenancy_enabled=True)

    def write_and_read(id_: str) -> None:
        # More often than psycopg waits before it prepares.
        for _ in range(7):
            store.add_entity(id_, "person", {"org_id": "elsewhere"}, tenant_id="acme")
            assert store.entity(id_, tenant_id="acme") == {"org_id": "elsewhere"}

    write_and_read("before")
    with connect(operator.info.dsn, "test") as connection:
        on = ground(connection, plan())
        take(columns.STAGE, on)
        write_and_read("beside")
        told = "SELECT tenant_id FROM graph_entities WHERE id = 'beside'"
        assert operator.execute(told).fetchall() == [("acme",)], "not what the guard would have said"
        take_back(columns.STAGE, on)
    write_and_read("after")


@pytest.mark.parametrize("state", ["half way"], indirect=True)
def test_whom_the_operator_enabled_the_application_reads_in_one_query(
    named: Named, application: psycopg.Connection, operator: psycopg.Connection
) -> None:
    is_migrated = named("enabled").is_migrated
    assert not is_migrated(application, "acme")
    with connect(operator.info.dsn, "test") as connection:
        tenants.enable(connection, ["acme"], "somebody")
    assert is_migrated(application, "acme")
    assert not is_migrated(application, "umbra")


@pytest.mark.parametrize("state", ["half way"], indirect=True)
def test_an_id_that_another_tenant_has_is_an_error_and_no_lost_write_while_the_old_key_stands(
    named: Named, application: psycopg.Connection
) -> None:
    store = named("store").TenantAwareStore(application, multi_tenancy_enabled=True)
    store.add_entity("new", "person", {}, tenant_id="acme")
    with pytest.raises(named("store").IdTakenError):
        store.add_entity("new", "person", {}, tenant_id="umbra")
