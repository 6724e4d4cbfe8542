"""A schema for each tenant: walked there and back once, and looked at in several ways."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.schemas.naming import schema_of
from tests.integration.separated import TABLES, TENANTS, separating

STAGES = ("backfill", "schemas", "application", "switch", "verify")


@dataclass
class Walk:
    """What a walk there and back left at each place."""

    dumps: dict[str | None, str] = field(default_factory=dict)
    back: dict[str | None, str] = field(default_factory=dict)
    rows: dict[str | None, object] = field(default_factory=dict)
    rows_back: dict[str | None, object] = field(default_factory=dict)
    by_tenant: dict[str, dict[str, list[object]]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def walk(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> Iterator[Walk]:
    """One migration, all the way and back."""
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute("CREATE DATABASE walk_of_schemas")
    migration = separating(postgres.url("walk_of_schemas"), valkey.url, postgres)
    walk = Walk()
    walk.dumps[None], walk.rows[None] = migration.schema(), migration.rows()
    for stage in STAGES:
        walk.said = migration.to(stage)
        walk.dumps[stage] = migration.schema()
    walk.by_tenant = {tenant: migration.rows(schema_of(tenant)) for tenant in TENANTS}
    for place in ("application", "schemas", "backfill", None):
        migration.back(place)
        walk.back[place], walk.rows_back[place] = migration.schema(), migration.rows()
    yield walk
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute("DROP DATABASE walk_of_schemas WITH (FORCE)")


@pytest.mark.parametrize("place", ["application", "schemas", "backfill", None])
def test_the_way_back_leaves_the_schema_byte_for_byte_as_it_was(walk: Walk, place: str | None) -> None:
    assert walk.back[place] == walk.dumps[place]


def test_the_way_back_leaves_every_row(walk: Walk) -> None:
    assert walk.rows_back[None] == walk.rows[None]


def test_each_tenants_tables_hold_its_rows_and_together_all_of_them(walk: Walk) -> None:
    for table in TABLES:
        every = sorted(str(row) for tenant in TENANTS for row in walk.by_tenant[tenant][table])
        assert every == sorted(map(str, walk.rows[None][table]))  # type: ignore[index]
    for tenant, rows in walk.by_tenant.items():
        assert {row[0]["org"] for row in rows["entity"]} == {tenant}  # type: ignore[index]


def test_a_tenants_tables_are_dumped_like_the_originals(walk: Walk) -> None:
    """But for what tells where they are, the foreign keys' order, and the identity that is a default."""
    before, after = _of_schema(walk.dumps[None], "public"), _of_schema(walk.dumps["verify"], "tenant_acme")
    kept = [line for line in before if "tenantry" not in line and "SEQUENCE" not in line]
    missing = sorted(set(kept) - set(after))
    allowed = re.compile(r"IDENTITY|nextval|fired|FUNCTION \S\.(fires|touches)|CREATE SCHEMA")
    assert [line for line in missing if not allowed.search(line)] == []


def _of_schema(dump: str, schema: str) -> list[str]:
    """The statements of a dump that are about one schema, without its name."""
    statements = re.split(r";\n", re.sub(r"^--.*\n", "", dump, flags=re.MULTILINE))
    ours = [one for one in statements if f"{schema}." in one]
    # A copy draws on the shared sequence, and the dump writes that within its CREATE TABLE.
    drawn = re.compile(r" DEFAULT (nextval\('.*'::regclass\)|tenantry_mirror\..*\(\))(?= NOT NULL)")
    return [drawn.sub("", re.sub(rf"\b{schema}\.", "S.", one)).strip() for one in ours]


def test_verification_says_each_thing_that_holds(walk: Walk) -> None:
    told = {line.split(": ")[2]: line.split(": ")[1] for line in walk.said if line.startswith("verify: ")}
    assert told["tenants' tables are like the originals"] == "true"
    assert told["shared and tenants' tables are the same"] == "true"
    assert told["isolation"] == "true"
    assert "FALSE" not in told.values()
