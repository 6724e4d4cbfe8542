"""A schema on which the application's old and new code both run, as between `columns` and `keys`."""

import psycopg
from psycopg import errors

from tests.waiting import until


def patiently(connection: psycopg.Connection, statements: str) -> None:
    """Change the schema under a working application, which must never be a deadlock's victim for it.

    Each try gives up its locks long before the server's `deadlock_timeout`.
    """

    def done() -> bool:
        try:
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '50ms'")
                connection.execute(statements.encode())
        except errors.LockNotAvailable:
            return False
        return True

    until(done, "a moment in which nobody holds these locks")


def add_tenants(connection: psycopg.Connection) -> None:
    """Add the tenant to every row, a trigger that gives it to the old code's, and the second unique key."""
    connection.execute(
        """
        ALTER TABLE graph_entities ADD COLUMN tenant_id text;
        ALTER TABLE graph_relations ADD COLUMN tenant_id text;
        UPDATE graph_entities SET tenant_id = properties->>'org_id';
        UPDATE graph_relations SET tenant_id = e.tenant_id FROM graph_entities AS e WHERE e.id = source_id;
        ALTER TABLE graph_entities ALTER COLUMN tenant_id SET NOT NULL;
        ALTER TABLE graph_relations ALTER COLUMN tenant_id SET NOT NULL;
        CREATE UNIQUE INDEX ON graph_entities (id, tenant_id);
        CREATE UNIQUE INDEX ON graph_relations (id, tenant_id);
        """
    )
    add_guard(connection)


def add_guard(connection: psycopg.Connection) -> None:
    """Give rows without a tenant theirs; without it, an insert of the old code fails."""
    patiently(
        connection,
        """
        CREATE FUNCTION guard_entity() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
          NEW.tenant_id = NEW.properties->>'org_id';
          RETURN NEW;
        END $$;
        CREATE FUNCTION guard_relation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
          NEW.tenant_id = (SELECT tenant_id FROM graph_entities WHERE id = NEW.source_id);
          RETURN NEW;
        END $$;
        CREATE TRIGGER guard BEFORE INSERT ON graph_entities
          FOR EACH ROW WHEN (NEW.tenant_id IS NULL) EXECUTE FUNCTION guard_entity();
        CREATE TRIGGER guard BEFORE INSERT ON graph_relations
          FOR EACH ROW WHEN (NEW.tenant_id IS NULL) EXECUTE FUNCTION guard_relation();
        """,
    )


def drop_guard(connection: psycopg.Connection) -> None:
    """Take the guard away: from now on only code that writes the tenant can insert."""
    patiently(connection, "DROP FUNCTION guard_entity, guard_relation CASCADE")
