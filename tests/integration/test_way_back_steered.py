"""A way back is paused, cancelled and taken up again as a run is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen

import psycopg

from tests.integration.operating import Operator, complaint
from tests.waiting import until

_COLUMNS = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'tenant_id'"


@contextmanager
def _behind_a_reader(operator: Operator) -> Iterator[tuple[psycopg.Connection, Popen[str]]]:
    """A way back from `columns` that waits to drop the first column."""
    operator.run_to("columns")
    with psycopg.connect(operator.url) as other:
        other.execute("SELECT FROM graph_relations LIMIT 1")
        with operator.started("rollback", "--yes") as back:
            waits = (
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'graph_relations'::regclass"
            )
            until(lambda: operator.count(waits), "the way back to wait for the reader")
            yield other, back


def _state(operator: Operator) -> str:
    state: str = json.loads(operator.done("status", "--json"))["state"]
    return state


def test_a_way_back_that_is_cancelled_ends_and_is_taken_up_again(operator: Operator) -> None:
    before = operator.schema()
    with _behind_a_reader(operator) as (_, back):
        operator.done("cancel")
        assert back.wait(60) == 3
        said = complaint(operator.said.read_text())
        assert "multi-tenancy is cancelled" in said
        assert "`tenantry rollback` walks back" in said
        assert _state(operator) == "cancelled"
        assert operator.count(_COLUMNS) == 2
    operator.done("resume")
    assert _state(operator) == "rolling back"
    operator.done("rollback", "--yes")
    assert operator.schema() == before


def test_a_way_back_that_is_paused_takes_no_further_step_until_it_is_resumed(operator: Operator) -> None:
    looks = (
        "SELECT extract(epoch FROM query_start) FROM pg_stat_activity WHERE application_name = "
        "'tenantry controller' AND datname = current_database() AND query LIKE '%ledger.state%'"
    )
    before = operator.schema()
    with (
        _behind_a_reader(operator) as (other, back),
        psycopg.connect(operator.url, autocommit=True) as look,
    ):
        operator.done("pause")
        other.rollback()
        seen: set[object] = set()

        def looked_often() -> bool:
            seen.update(look.execute(looks).fetchall())
            return len(seen) > 4

        until(looked_often, "the controller to look again and again")
        assert back.poll() is None
        assert _state(operator) == "paused"
        operator.done("resume")
        assert back.wait(60) == 0
    assert operator.schema() == before


def test_what_others_have_made_of_the_new_key_is_named_and_the_way_back_goes_on_without_it(
    operator: Operator,
) -> None:
    before = operator.schema()
    operator.run_to("indexes", count=1)
    operator.run_to("keys")
    with psycopg.connect(operator.url) as other:
        other.execute(
            "CREATE TABLE noted (entity text, tenant_id text, CONSTRAINT noted_entity "
            "FOREIGN KEY (entity, tenant_id) REFERENCES graph_entities (id, tenant_id))"
        )
    stopped = operator.tenantry("rollback", "--yes")
    assert stopped.returncode == 1
    said = complaint(stopped.stderr)
    assert "constraint noted_entity on table noted depends on index graph_entities_pkey" in said
    assert "give the same command again" in said
    status = json.loads(operator.done("status", "--json"))
    assert [one["state"] for one in status["stages"] if one["name"] == "keys"] == ["failed"]
    with psycopg.connect(operator.url) as other:
        other.execute("DROP TABLE noted")
    operator.done("rollback", "--yes")
    assert operator.schema() == before
