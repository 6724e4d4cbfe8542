"""Rows that can't be updated: set aside with their key, and filled once their cause is mended."""

import psycopg
import pytest

from tests.chaos.conftest import Build, Tell
from tests.chaos.house import PATIENCE, House
from tests.waiting import until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

#: The first batch that fails; its halves follow, down to the row that is set aside.
_FAILED = "SELECT FROM tenantry.batches WHERE sqlstate = %(sqlstate)s"
#: 0 done, or 4: rows are set aside, and the operator has to mend something.
_ENDS = frozenset({0, 4})

#: An entity that workers can't update, and relations that may have no tenant. The application updates the one
#: as ever, and never the others.
_RAISING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') LIKE 'tenantry worker %' THEN
        RAISE EXCEPTION 'not by a worker';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON graph_entities FOR EACH ROW
    WHEN (OLD.id IN ('entity-0000002401', 'entity-0000002402', 'entity-0000003001'))
    EXECUTE FUNCTION refuse();
ALTER TABLE graph_relations ADD CONSTRAINT refused
    CHECK (tenant_id = '' OR id NOT IN ('relation-0000004001', 'relation-0000004002', 'relation-0000005001'))
    NOT VALID;
"""

#: A sequence counts what a transaction that never ends can't.
_DEADLY = """
CREATE SEQUENCE deaths;
GRANT USAGE ON SEQUENCE deaths TO PUBLIC;
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') LIKE 'tenantry worker %' THEN
        PERFORM nextval('deaths');
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER die BEFORE UPDATE ON graph_relations FOR EACH ROW
    WHEN (OLD.id = 'relation-0000003001') EXECUTE FUNCTION die();
"""
_DEATHS = "SELECT last_value::int FROM deaths WHERE is_called"


def _mended(there: House, cause: str) -> None:
    """Wait until the run says that rows are set aside; mend the cause, and have it go on."""
    until(lambda: all(run.is_over for run in there.runs), PATIENCE, "the run to end with rows set aside")
    assert there.runs[-1].ended[-1] == 4
    there.ask(cause)
    status, complaint = there.tenantry("retry")
    assert status == 0, complaint
    there.run(over=_ENDS)


def _fails(there: House, sqlstate: str) -> None:
    until(lambda: there.ask(_FAILED, {"sqlstate": sqlstate}), PATIENCE, f"a batch that fails by {sqlstate}")


def test_rows_that_raise(build: Build, tell: Tell) -> None:
    def raise_there(connection: psycopg.Connection) -> None:
        connection.execute(_RAISING)

    with build(before=raise_there) as there:
        there.work()
        there.run(over=_ENDS)
        there.strike(1, lambda: _fails(there, "P0001"), last=0.2)
        _mended(there, "DROP FUNCTION refuse CASCADE")
        there.strike(1, lambda: _fails(there, "23514"), first=0.4, last=0.5)
        _mended(there, "ALTER TABLE graph_relations DROP CONSTRAINT refused")
        verdict = there.end()
        assert there.runs[-1].ended[-1] == 0
        tell(verdict)


def test_batch_that_kills_its_backend(build: Build, tell: Tell) -> None:
    def kill_there(connection: psycopg.Connection) -> None:
        connection.execute(_DEADLY)

    with build(before=kill_there) as there:
        there.work()
        there.run(over=_ENDS)
        there.strike(
            1, lambda: until(lambda: there.ask(_DEATHS), PATIENCE, "a backend killed"), first=0.4, last=0.5
        )
        _mended(there, "DROP FUNCTION die CASCADE")
        verdict = there.end()
        assert there.runs[-1].ended[-1] == 0
        assert there.ask(_DEATHS)[0][0] > 3
        tell(verdict)
