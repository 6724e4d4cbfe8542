"""Foreign keys from tables that the plan doesn't name hold before, during and after the keys' exchange."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.keys import outside
from control.locks import take
from control.plan.model import Plan
from control.preflight import keys as preflight
from control.preflight.finding import Finding
from control.stages import columns, indexes, keys
from sql.postgres.connection import connect
from tests.integration.migrated import ground
from tests.integration.walking import FILL_SAMPLE, SAMPLE, Walker
from tests.lock_table import strongest
from tests.waiting import until

#: Two tables outside the plan, onto both of its keys, with all that such a foreign key can have.
OTHERS = """
CREATE SCHEMA "of others";
CREATE TABLE note (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  entity text NOT NULL REFERENCES graph_entities ON DELETE CASCADE ON UPDATE CASCADE,
  also text
);
ALTER TABLE note ADD CONSTRAINT loose FOREIGN KEY (also) REFERENCES graph_entities NOT VALID;
COMMENT ON CONSTRAINT note_entity_fkey ON note IS 'what it''s about';
CREATE TABLE "of others"."Pin %s" (
  relation text,
  entity text,
  CONSTRAINT "its {}" FOREIGN KEY (relation) REFERENCES graph_relations (id) MATCH FULL
    ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT "its %s" FOREIGN KEY (entity) REFERENCES graph_entities (id) ON DELETE RESTRICT
);
INSERT INTO note (entity) SELECT id FROM graph_entities ORDER BY id LIMIT 100;
INSERT INTO "of others"."Pin %s" SELECT id, source_id FROM graph_relations ORDER BY id LIMIT 100;
"""

DEFINITIONS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated,
  obj_description(oid, 'pg_constraint')
FROM pg_constraint WHERE contype = 'f' AND conrelid IN ('note'::regclass, '"of others"."Pin %s"'::regclass)
ORDER BY 1, 2
"""

NAME = "foreign keys from outside the plan"


@pytest.fixture
def walker(sample: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker whose tables have their tenants, just before the keys, with others that point to them."""
    with connect(sample, "test") as connection:
        connection.execute(OTHERS)
        made = Walker(connection, Plan.model_validate(SAMPLE), postgres)
        made.there(columns.STAGE)
        connection.execute(FILL_SAMPLE)
        yield made


def _findings(walker: Walker) -> dict[str, Finding]:
    on = ground(walker.connection, walker.plan, walker.original)
    return {finding.name: finding for finding in preflight.look(on)}


def test_they_are_as_they_were_after_the_way_there_and_the_schema_after_the_way_back(walker: Walker) -> None:
    before, schema = walker.connection.execute(DEFINITIONS).fetchall(), walker.schema()
    walker.there(keys.STAGE)
    assert walker.connection.execute(DEFINITIONS).fetchall() == before
    entities = walker.live().table("graph_entities").primary_key
    assert entities is not None
    assert entities.columns == ("id", "tenant_id")
    assert keys.cannot_undo(walker.connection, walker.plan, walker.original) is None
    walker.back(keys.STAGE)
    assert walker.schema() == schema
    leans_on = {key.target_index for key in walker.live().table("graph_entities").referenced_by}
    assert leans_on == {"graph_entities_pkey"}


@pytest.fixture
def points(request: pytest.FixtureRequest) -> Callable[[int], list[int]]:
    """After how many steps of so many a walk is broken off: each, or a few by `SEED`."""
    chosen = random.Random(os.environ.get("SEED", "1"))

    def of(length: int) -> list[int]:
        every = list(range(1, length))
        return every if request.param == "each" else chosen.sample(every, 2)

    return of


@pytest.mark.parametrize("points", ["few", pytest.param("each", marks=pytest.mark.full)], indirect=True)
def test_they_go_both_ways_from_any_step_of_the_other(
    walker: Walker, points: Callable[[int], list[int]]
) -> None:
    before = walker.schema()
    there = len(walker.there(keys.STAGE))
    after = walker.schema()
    back = len(walker.back(keys.STAGE))
    for most in points(there):
        assert len(walker.there(keys.STAGE, most=most)) == most
        walker.back(keys.STAGE)
        assert walker.schema() == before, f"back after {most} steps"
    walker.there(keys.STAGE)
    for most in points(back):
        assert len(walker.back(keys.STAGE, most=most)) == most
        walker.there(keys.STAGE)
        assert walker.schema() == after, f"there after {most} steps back"


def test_what_they_point_to_is_unique_in_all_tenants_and_they_do_what_they_did(walker: Walker) -> None:
    walker.there(keys.STAGE)
    run = walker.connection.execute
    with pytest.raises(errors.UniqueViolation, match="graph_entities_pkey_tenantry_old"):
        run(
            "INSERT INTO graph_entities (id, tenant_id, entity_type) "
            "SELECT id, 'somebody else', 'x' FROM graph_entities LIMIT 1"
        )
    with pytest.raises(errors.ForeignKeyViolation, match="note_entity_fkey"):
        run("INSERT INTO note (entity) VALUES ('nobody')")
    run("INSERT INTO graph_entities (id, tenant_id, entity_type) VALUES ('new', 'acme', 'x')")
    run("INSERT INTO note (entity) VALUES ('new')")
    run("DELETE FROM graph_entities WHERE id = 'new'")
    assert run("SELECT count(*) FROM note WHERE entity = 'new'").fetchone() == (0,)


@dataclass
class Writer:
    """Writes notes of new entities, deletes every other entity with its notes, and tries a note of nobody."""

    url: str
    stop: threading.Event = field(default_factory=threading.Event)
    there: set[str] = field(default_factory=set)
    operations: int = 0
    let_in: int = 0
    error: psycopg.Error | None = None

    def run(self) -> None:
        """Until told to stop, or until an error."""
        try:
            with psycopg.connect(self.url, autocommit=True) as session:
                while not self.stop.is_set():
                    self._write(session, f"new {self.operations}")
                    self.operations += 1
        except psycopg.Error as error:
            self.error = error

    def _write(self, session: psycopg.Connection, name: str) -> None:
        session.execute(
            "INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES (%s, 'new', 'acme')", [name]
        )
        session.execute("INSERT INTO note (entity) VALUES (%s)", [name])
        try:
            session.execute("INSERT INTO note (entity) VALUES ('nobody')")
            self.let_in += 1
        except errors.ForeignKeyViolation:
            pass
        if self.operations % 2:
            session.execute("DELETE FROM graph_entities WHERE id = %s", [name])
        else:
            self.there.add(name)


def test_nobody_who_writes_meanwhile_fails_and_no_orphan_gets_in(walker: Walker, sample: str) -> None:
    writer = Writer(sample)
    thread = threading.Thread(target=writer.run)
    thread.start()

    def wrote(more: int = 20) -> None:
        goal = writer.operations + more
        until(lambda: writer.error is not None or writer.operations >= goal, "the writer to write on")

    try:
        wrote()
        for steps in (keys.STAGE.steps, keys.STAGE.undo):
            for step in steps(walker.plan, walker.original):
                if not step.done(walker.live()):
                    take(walker.connection, step, notify=lambda _: None)
                    wrote(1)
            wrote()
    finally:
        writer.stop.set()
        thread.join()
    assert writer.error is None
    assert writer.let_in == 0
    notes = walker.connection.execute("SELECT entity FROM note WHERE entity LIKE 'new %'")
    assert {entity for (entity,) in notes} >= writer.there


def test_a_second_session_sees_the_locks_that_the_steps_name(walker: Walker, sample: str) -> None:
    """Building and validating stop no write; the exchange has all of its tables, for milliseconds."""
    modes: dict[str, dict[str, str]] = {}
    with connect(sample, "test watch") as watch:
        pid = walker.connection.info.backend_pid
        for step in keys.STAGE.steps(walker.plan, walker.original):
            if step.done(walker.live()):
                continue
            if "CONCURRENTLY" not in step.statement.as_string():
                with walker.connection.transaction(force_rollback=True):
                    walker.connection.execute(step.statement)
                    modes[step.what] = strongest(watch, pid)
                named = {table.as_string().replace('"', "").removeprefix("public.") for table in step.tables}
                strong = {table for table, mode in modes[step.what].items() if mode == "ACCESS EXCLUSIVE"}
                assert {table.replace('"', "") for table in strong} <= named
            take(walker.connection, step, notify=lambda _: None)
    validated = modes["graph_entities: validate note_entity_fkey of public.note"]
    assert validated == {"note": "SHARE UPDATE EXCLUSIVE", "graph_entities": "ROW SHARE"}
    (swapped,) = [held for what, held in modes.items() if what.startswith("graph_entities: primary key")]
    assert swapped == dict.fromkeys(("note", '"of others"."Pin %s"', "graph_entities"), "ACCESS EXCLUSIVE")


def test_preflight_tells_what_stays_unique_and_the_way_out(walker: Walker) -> None:
    found = _findings(walker)
    assert found[NAME].level == "warn"
    for name in ("note_entity_fkey of public.note", "loose of public.note", "its {} of of others.Pin %s"):
        assert name in found[NAME].fact
    assert "graph_entities_pkey_tenantry_old" in found[NAME].way_out
    assert found[f"{NAME}: tables"].level == "pass"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            (
                "CREATE TABLE parted (entity text REFERENCES graph_entities) PARTITION BY LIST (entity);"
                "CREATE TABLE part PARTITION OF parted DEFAULT"
            ),
            "public.parted is partitioned",
        ),
        ("SET ROLE plain", "public.note is not this role's"),
    ],
    ids=["partitioned", "somebody else's"],
)
def test_preflight_stops_at_a_table_that_cannot_be_altered(walker: Walker, change: str, reason: str) -> None:
    run = walker.connection.execute
    with walker.connection.transaction(force_rollback=True):
        run("CREATE ROLE plain")
        run(change.encode())
        walker.original = walker.live()
        found = _findings(walker)[f"{NAME}: tables"]
    assert found.level == "stop"
    assert reason in found.fact


@pytest.mark.parametrize(
    "drop", ["DROP TABLE note", "ALTER TABLE note DROP CONSTRAINT note_entity_fkey"], ids=["table", "alone"]
)
def test_one_that_somebody_dropped_meanwhile_holds_up_neither_way(walker: Walker, drop: str) -> None:
    run = walker.connection.execute
    walker.there(indexes.STAGE)
    run(drop.encode())
    walker.original = outside.as_they_are(walker.connection, walker.plan, walker.original)
    walker.there(keys.STAGE)
    run('DROP TABLE "of others"."Pin %s"; DROP TABLE IF EXISTS note')
    walker.original = outside.as_they_are(walker.connection, walker.plan, walker.original)
    walker.back(keys.STAGE)
    walker.back(indexes.STAGE)
    entities = walker.live().table("graph_entities")
    assert entities.indexes == walker.original.table("graph_entities").indexes


def test_one_that_is_not_enforced_stays_so(walker: Walker) -> None:
    if walker.connection.info.server_version < 180_000:
        pytest.skip("the server knows nothing of it before PostgreSQL 18")
    walker.back(columns.STAGE)
    walker.connection.execute(
        "ALTER TABLE note ADD CONSTRAINT lax FOREIGN KEY (also) REFERENCES graph_entities NOT ENFORCED"
    )
    walker.original = walker.live()
    before = walker.connection.execute(DEFINITIONS).fetchall()
    walker.there(columns.STAGE)
    walker.connection.execute(FILL_SAMPLE)
    walker.there(keys.STAGE)
    assert walker.connection.execute(DEFINITIONS).fetchall() == before
