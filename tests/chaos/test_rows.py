"""Rows that can't be updated: set aside with their key, and filled once their cause is mended."""

import psycopg
import pytest

from control.demo import sample
from tests.chaos.conftest import Build, Tell
from tests.chaos.house import ENTITIES, OWNED, PATIENCE, House
from tests.chaos.verdict import Verdict
from tests.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

_SET_ASIDE = "SELECT key[1] FROM tenantry.quarantine ORDER BY 1"
#: The first batch that fails; its halves follow, down to the row that is set aside.
_FAILED = "SELECT FROM tenantry.batches WHERE sqlstate = %(sqlstate)s"
#: 0 done, or 4: rows are set aside, and the operator has to mend something.
_ENDS = frozenset({0, 4})

#: An entity that workers can't update, and relations that may have no tenant. The application updates the one
#: as ever, and never the others.
#: Neither is ever deleted.
_ENTITIES = [sample.entity_key(number) for number in (2_901, 2_902, 3_501)]
_RELATIONS = [
    sample.relation_key(number)
    for number in range(1, 2 * ENTITIES + 1)
    if min(sample.ends(number, entities=ENTITIES, relations=2 * ENTITIES)) > OWNED
][:3]
_RAISING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') LIKE 'tenantry worker %' THEN
        RAISE EXCEPTION 'not by a worker';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON graph_entities FOR EACH ROW
    WHEN (OLD.id = ANY ('{entities}'::text[]))
    EXECUTE FUNCTION refuse();
ALTER TABLE graph_relations ADD CONSTRAINT refused
    CHECK (tenant_id = '' OR id <> ALL ('{relations}'::text[]))
    NOT VALID;
"""

#: A session that ends itself; and one whose process is killed, which takes every session of the server along.
_ENDED = "PERFORM pg_terminate_backend(pg_backend_pid());"
_KILLED = "COPY (SELECT) TO PROGRAM 'kill -9 $PPID';"

#: A sequence counts what a transaction that never ends can't.
_DEADLY = """
CREATE SEQUENCE deaths;
GRANT USAGE ON SEQUENCE deaths TO PUBLIC;
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') LIKE 'tenantry worker %' THEN
        PERFORM nextval('deaths');
        {end}
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER die BEFORE UPDATE ON graph_entities FOR EACH ROW
    WHEN (OLD.id = '{entity}') EXECUTE FUNCTION die();
"""
_DEATHS = "SELECT last_value::int FROM deaths WHERE is_called"


def _mended(there: House, cause: str, aside: list[str]) -> None:
    """Wait until the run says that these rows are set aside; mend the cause, and have it go on."""
    until(
        lambda: all(run.is_over for run in there.runs), "the run to end with rows set aside", within=PATIENCE
    )
    assert there.runs[-1].ended[-1] == 4
    assert [key for (key,) in there.ask(_SET_ASIDE)] == aside
    there.ask(cause)
    status, complaint = there.tenantry("retry")
    assert status == 0, complaint
    there.run(over=_ENDS)


def _listed(keys: list[str]) -> str:
    """Keys as the server reads an array."""
    return "{" + ",".join(keys) + "}"


def _fails(there: House, sqlstate: str) -> None:
    until(
        lambda: there.ask(_FAILED, {"sqlstate": sqlstate}),
        f"a batch that fails by {sqlstate}",
        within=PATIENCE,
    )


def test_rows_that_raise(build: Build, tell: Tell) -> None:
    def raise_there(connection: psycopg.Connection) -> None:
        connection.execute(
            _RAISING.format(entities=_listed(_ENTITIES), relations=_listed(_RELATIONS)).encode()
        )

    with build(before=raise_there) as there:
        there.work()
        there.run(over=_ENDS)
        there.strike(1, lambda: _fails(there, "P0001"), last=0.2)
        _mended(there, "DROP FUNCTION refuse CASCADE", _ENTITIES)
        there.strike(1, lambda: _fails(there, "23514"), first=0.4, last=0.5)
        _mended(there, "ALTER TABLE graph_relations DROP CONSTRAINT refused", _RELATIONS)
        verdict = there.end()
        assert there.runs[-1].ended[-1] == 0
        tell(verdict)


def test_batch_that_ends_its_session(build: Build, tell: Tell) -> None:
    tell(_end_again_and_again(build, _ENDED))


def test_batch_that_kills_its_backend(build: Build, tell: Tell) -> None:
    tell(_end_again_and_again(build, _KILLED), servers_own=True)


def _end_again_and_again(build: Build, end: str) -> Verdict:
    def prepare(connection: psycopg.Connection) -> None:
        connection.execute(_DEADLY.format(end=end, entity=_ENTITIES[0]).encode())

    with build(before=prepare) as there:
        there.work()
        there.run(over=_ENDS)
        there.strike(
            1,
            lambda: until(lambda: there.ask(_DEATHS), "a backend killed", within=PATIENCE),
            first=0.12,
            last=0.18,
        )
        _mended(there, "DROP FUNCTION die CASCADE", _ENTITIES[:1])
        verdict = there.end()
        assert there.runs[-1].ended[-1] == 0
        assert there.ask(_DEATHS)[0][0] > 3
        return verdict
