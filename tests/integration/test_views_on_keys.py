"""Views that GROUP BY a key that changes: valid after it, what hangs on them kept, and back as they were."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.keys import views
from control.locks import take
from control.plan.model import Plan
from control.preflight import keys as preflight
from control.preflight.finding import Finding
from control.stages import columns, keys
from sql.postgres.connection import connect
from tests.integration.migrated import ground
from tests.integration.walking import FILL_SAMPLE, SAMPLE, Walker
from tests.waiting import until

#: Views by the key in all places where a GROUP BY may be, with all that can hang on one.
VIEWS = """
CREATE ROLE reader;
CREATE SCHEMA "of others";
CREATE VIEW "of others"."Kinds %s {}" WITH (security_barrier = true) AS
  SELECT e.id, e.entity_type AS "GROUP BY", e.properties, count(*) AS edges, 'GROUP BY e.id, ''x' AS text
  FROM graph_entities AS e JOIN graph_relations AS r ON r.source_id = e.id
  GROUP BY e.id HAVING count(*) > 0 ORDER BY e.id;
COMMENT ON VIEW "of others"."Kinds %s {}" IS 'what it''s for';
COMMENT ON COLUMN "of others"."Kinds %s {}".edges IS 'out of it';
ALTER VIEW "of others"."Kinds %s {}" ALTER COLUMN edges SET DEFAULT 7;
GRANT SELECT ON "of others"."Kinds %s {}" TO reader WITH GRANT OPTION;
GRANT UPDATE (edges) ON "of others"."Kinds %s {}" TO reader;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER instead INSTEAD OF UPDATE ON "of others"."Kinds %s {}" FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE RULE gone AS ON DELETE TO "of others"."Kinds %s {}" DO INSTEAD NOTHING;
CREATE VIEW upon AS SELECT * FROM "of others"."Kinds %s {}" WHERE edges > 1;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM upon;
CREATE VIEW within AS WITH counted AS (
    SELECT id, entity_type COLLATE "C" AS entity_type, count(*) FILTER (WHERE true) OVER () AS n
    FROM graph_entities GROUP BY id, created_at
  ) SELECT *, (SELECT max(counted.n) FROM counted) AS most FROM counted UNION ALL SELECT 'none', 'a', 1, 1;
"""

NAME = "what leans on changing keys"
SHOWN = 'SELECT * FROM "of others"."Kinds %s {}" ORDER BY id'


@pytest.fixture
def walker(sample: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker whose tables have their tenants, just before the keys, with views on them."""
    with connect(sample, "test") as connection:
        connection.execute(VIEWS)
        made = Walker(connection, Plan.model_validate(SAMPLE), postgres)
        made.there(columns.STAGE)
        connection.execute(FILL_SAMPLE)
        yield made
        connection.execute("DROP OWNED BY reader; DROP ROLE reader")


def _findings(walker: Walker) -> dict[str, Finding]:
    on = ground(walker.connection, walker.plan, walker.live())
    return {finding.name: finding for finding in preflight.look(on)}


def _except_views(schema: str) -> str:
    """A schema without the definitions of views, and what comes for the keys' sake."""
    kept = (
        "COMMENT ON",
        "GRANT ",
        "REVOKE ",
        "CREATE RULE",
        "CREATE TRIGGER",
        'ALTER TABLE ONLY "of others"',
    )
    return "\n".join(line for line in schema.splitlines() if line.startswith(kept))


def test_they_show_the_same_and_keep_what_hangs_on_them_and_come_back_byte_for_byte(walker: Walker) -> None:
    run = walker.connection.execute
    assert _findings(walker)[NAME].level == "pass"
    before, rows = walker.schema(), run(SHOWN).fetchall()
    there = walker.there(keys.STAGE)
    assert (
        "graph_entities: primary key (id, tenant_id), under the views of others.Kinds %s {}, public.within"
        in there
    )
    assert run(SHOWN).fetchall() == rows
    assert len(run("SELECT * FROM within").fetchall()) == 2001
    assert _except_views(walker.schema()) == _except_views(before)
    assert "GROUP BY e.id, e.tenant_id\n" in walker.schema()
    options = run("SELECT reloptions FROM pg_class WHERE relname LIKE 'Kinds%'").fetchone()
    assert options == (["security_barrier=true"],)
    walker.back(keys.STAGE)
    assert walker.schema() == before
    assert run(SHOWN).fetchall() == rows


def test_groups_fall_apart_by_tenant_where_an_id_is_in_two(walker: Walker) -> None:
    walker.there(keys.STAGE)
    run = walker.connection.execute
    run(
        "INSERT INTO graph_entities (id, tenant_id, entity_type) "
        "SELECT id, 'somebody else', 'other' FROM graph_entities WHERE id = 'entity-0000000001'"
    )
    found = run("SELECT entity_type FROM within WHERE id = 'entity-0000000001'").fetchall()
    assert len(found) == 2


def test_nobody_sees_the_view_in_between(walker: Walker, sample: str) -> None:
    """Its lock is held to the end of the transaction that has the key."""
    for step in keys.STAGE.steps(walker.plan, walker.original):
        if "under the views" in step.what:
            break
        if not step.done(walker.live()):
            take(walker.connection, step, notify=lambda _: None)
    with connect(sample, "test reader") as reader, walker.connection.transaction(force_rollback=True):
        walker.connection.execute(step.statement)
        reader.execute("SET lock_timeout = '50ms'")
        with pytest.raises(errors.LockNotAvailable):
            reader.execute(SHOWN)


def test_who_reads_a_view_all_the_time_neither_fails_nor_keeps_the_keys_from_being_swapped(
    walker: Walker, sample: str
) -> None:
    stop = threading.Event()
    read = [0] * 4
    failed: list[psycopg.Error] = []

    def run(number: int) -> None:
        try:
            with psycopg.connect(sample, autocommit=True) as session:
                while not stop.is_set():
                    session.execute(b"SELECT * FROM upon WHERE id = 'entity-0000000001'")
                    read[number] += 1
        except psycopg.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=[number]) for number in range(len(read))]
    for thread in threads:
        thread.start()
    try:
        until(lambda: failed or min(read) > 10, "every reader to read")
        for steps in (keys.STAGE.steps, keys.STAGE.undo):
            for step in steps(walker.plan, walker.original):
                if not step.done(walker.live()):
                    take(walker.connection, step, notify=lambda _: None, attempts=6)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (
            (
                "SELECT e.id, e.entity_type, r.id AS edge, r.weight FROM graph_entities AS e "
                "JOIN graph_relations AS r ON r.source_id = e.id GROUP BY e.id, r.id"
            ),
            "it leans on several keys that change",
        ),
        (
            "SELECT id, entity_type FROM graph_entities GROUP BY GROUPING SETS ((id), (id, created_at))",
            "no GROUP BY of it names the whole key",
        ),
        (
            (
                "SELECT e.id, e.entity_type, ARRAY(SELECT i.id FROM graph_entities AS i GROUP BY i.id) "
                "FROM graph_entities AS e GROUP BY e.id"
            ),
            "not each GROUP BY of the key in it needs the tenant",
        ),
    ],
    ids=["several keys", "grouping sets", "a GROUP BY that needs nothing"],
)
def test_one_that_cannot_be_defined_anew_is_refused_with_the_reason(
    walker: Walker, view: str, reason: str
) -> None:
    walker.connection.execute(f"CREATE VIEW refused AS {view}".encode())
    found = _findings(walker)[NAME]
    assert found.level == "stop"
    assert reason in found.fact
    assert "GROUP BY" in found.way_out


def test_one_that_somebody_defined_otherwise_meanwhile_is_let_alone(walker: Walker) -> None:
    run = walker.connection.execute
    run("DROP VIEW within")
    run("CREATE OR REPLACE VIEW public.within AS SELECT 1 AS one")
    walker.original = views.as_they_are(walker.connection, walker.original)
    walker.there(keys.STAGE)
    assert run("SELECT * FROM within").fetchall() == [(1,)]
    walker.original = views.as_they_are(walker.connection, walker.original)
    assert [view.name for view in walker.original.table("graph_entities").views] == ["Kinds %s {}"]
    walker.back(keys.STAGE)
    assert run("SELECT * FROM within").fetchall() == [(1,)]


def _now(walker: Walker) -> None:
    """What a command begins with."""
    walker.original = views.as_they_are(walker.connection, walker.original)


def test_it_keeps_the_name_the_schema_and_the_options_that_somebody_gave_it_meanwhile(walker: Walker) -> None:
    """On both ways: `security_barrier` and `security_invoker` say whose rows are seen."""
    run = walker.connection.execute
    run("ALTER VIEW within SET (security_barrier = true); ALTER VIEW within RENAME TO renamed")
    _now(walker)
    walker.there(keys.STAGE)
    run('ALTER VIEW "of others"."Kinds %s {}" RESET (security_barrier)')
    run('ALTER VIEW renamed SET SCHEMA "of others"')
    _now(walker)
    walker.back(keys.STAGE)
    options = run(
        "SELECT relnamespace::regnamespace::text, relname::text, reloptions FROM pg_class "
        "WHERE relname IN ('within', 'renamed', 'Kinds %s {}') ORDER BY relname"
    ).fetchall()
    assert options == [
        ('"of others"', "Kinds %s {}", None),
        ('"of others"', "renamed", ["security_barrier=true"]),
    ]


def test_one_that_was_dropped_and_made_again_as_it_was_is_the_same(walker: Walker) -> None:
    walker.connection.execute("CREATE VIEW again AS SELECT id, entity_type FROM graph_entities GROUP BY id")
    walker.original = walker.live()
    before = walker.schema()
    walker.connection.execute(
        "DROP VIEW again; CREATE VIEW again AS SELECT id, entity_type FROM graph_entities GROUP BY id"
    )
    _now(walker)
    walker.there(keys.STAGE)
    _now(walker)
    walker.back(keys.STAGE)
    assert walker.schema() == before


def test_one_that_the_server_writes_otherwise_each_time_goes_there_again_after_the_way_back(
    walker: Walker,
) -> None:
    walker.connection.execute(
        "CREATE VIEW written AS SELECT id, entity_type FROM graph_entities "
        "WHERE entity_type::varchar IN ('document', 'person') GROUP BY id"
    )
    walker.original = walker.live()
    for _ in range(2):
        _now(walker)
        walker.there(keys.STAGE)
        _now(walker)
        walker.back(keys.STAGE)


def test_what_somebody_wrote_into_one_after_the_swap_is_never_overwritten(walker: Walker) -> None:
    """With the same columns it looked like ours, and the way back let rows through that a WHERE kept out."""
    walker.connection.execute("CREATE VIEW shown AS SELECT id, entity_type FROM graph_entities GROUP BY id")
    walker.original = walker.live()
    walker.there(keys.STAGE)
    walker.connection.execute(
        "CREATE OR REPLACE VIEW shown AS SELECT id, entity_type FROM graph_entities "
        "WHERE entity_type <> 'secret' GROUP BY id, tenant_id"
    )
    _now(walker)
    with pytest.raises(errors.DependentObjectsStillExist) as refused:
        walker.back(keys.STAGE)
    assert "view shown depends on constraint" in (refused.value.diag.message_detail or "")
    assert "'secret'" in walker.schema()
