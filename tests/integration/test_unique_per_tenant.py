"""Unique constraints and indexes that come to hold within each tenant, and all of them that is kept."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stages import columns
from sql.postgres.connection import connect
from tests.integration.walking import STAGES, Walker
from tests.servers import VARIABLE

#: That NULLs are each other's equals can be said from PostgreSQL 15 on.
NOT_DISTINCT = "" if os.environ.get(VARIABLE) == "14" else "NULLS NOT DISTINCT"

#: Every kind, each with what an exchange could lose of it; and foreign keys onto two of them.
SCHEMA = f"""
CREATE TABLE account (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL,
  handle varchar(40),
  badge integer,
  "of %s" text COLLATE "C",
  deleted boolean NOT NULL DEFAULT false,
  org text NOT NULL,
  CONSTRAINT account_email_key UNIQUE (email) INCLUDE (handle) WITH (fillfactor = 70),
  CONSTRAINT "its ""badge"" key" UNIQUE {NOT_DISTINCT} (badge) DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON CONSTRAINT account_email_key ON account IS 'who it''s about';
COMMENT ON INDEX account_email_key IS 'and its index';
CREATE UNIQUE INDEX "by %s {{}}" ON account (lower(handle), "of %s" COLLATE "POSIX" DESC)
  INCLUDE (badge) WITH (fillfactor = 80) WHERE NOT deleted;
COMMENT ON INDEX "by %s {{}}" IS 'one of each';
ALTER INDEX "by %s {{}}" ALTER COLUMN 1 SET STATISTICS 77;
CREATE UNIQUE INDEX account_pattern ON account (email text_pattern_ops DESC NULLS LAST, org);
CREATE UNIQUE INDEX account_identity ON account (email, org);
ALTER TABLE account CLUSTER ON account_pattern;
ALTER TABLE account REPLICA IDENTITY USING INDEX account_identity;
CREATE TABLE session (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email text NOT NULL REFERENCES account (email) ON DELETE CASCADE ON UPDATE CASCADE,
  badge integer,
  who text, at text,
  CONSTRAINT pair FOREIGN KEY (who, at) REFERENCES account (email, org) DEFERRABLE,
  org text NOT NULL
);
INSERT INTO account (email, handle, badge, "of %s", org)
SELECT 'a' || n || '@x', 'H' || n, n, 'c', CASE n % 2 WHEN 0 THEN 'acme' ELSE 'zenith' END
FROM generate_series(1, 40) AS n;
INSERT INTO session (email, who, at, org) SELECT email, email, org, org FROM account;
"""

NAMES = ("account_email_key", 'its "badge" key', "by %s {}", "account_pattern", "account_identity")

PLAN: dict[str, Any] = {
    "name": "unique",
    "database": {"url": "postgresql:///"},
    "tenant": {"sentinel": "null"},
    "tables": [
        {"name": "account", "tenant": {"expression": "org"}, "unique": NAMES},
        {"name": "session", "tenant": {"parent": "account", "on": {"email": "email"}}},
    ],
}

FILL = "UPDATE account SET tenant_id = org WHERE tenant_id IS NULL; UPDATE session SET tenant_id = org"


@pytest.fixture
def walker(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker at the start."""
    with connect(database, "test") as connection:
        connection.execute(SCHEMA)
        yield Walker(connection, Plan.model_validate(PLAN), postgres)


def _to_keys(walker: Walker) -> None:
    for stage in STAGES:
        walker.there(stage)
        if stage is columns.STAGE:
            walker.connection.execute(FILL)


def test_each_stage_goes_back_to_the_schema_it_came_from(walker: Walker) -> None:
    before = walker.schema()
    _to_keys(walker)
    for stage in reversed(STAGES):
        walker.back(stage)
    assert walker.schema() == before
