"""How far an index is that is being built, and whom its building waits for, shown and in metrics."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import psycopg
from psycopg import IsolationLevel
from psycopg.errors import QueryCanceled

from control import building, status
from control.building import Building, share_of
from control.exported.beside import Beside
from control.exported.families import of
from control.watch.words import built
from sql.postgres.connection import Connection, connect
from sql.postgres.session import take_migration
from tests.integration.finished import on_record
from tests.integration.migrated import ground, plan
from tests.waiting import until

BUILD = "CREATE INDEX CONCURRENTLY of_ours ON graph_entities (entity_type)"
WRITE = "UPDATE graph_entities SET entity_type = entity_type WHERE id = (SELECT min(id) FROM graph_entities)"


@contextmanager
def _built(url: str) -> Iterator[tuple[Connection, int]]:
    """A build by the session that has the migration; a session to look from, and the migration's id."""
    with connect(url, "controller") as controller, connect(url, "status") as look:
        migration = on_record(ground(controller, plan()))
        assert take_migration(controller, "graph") is None

        def build() -> None:
            with suppress(QueryCanceled):
                controller.execute(BUILD)

        thread = threading.Thread(target=build)
        thread.start()
        try:
            yield look, migration
        except BaseException:
            controller.cancel()  # whom it waits for is still there, and would be for ever
            raise
        finally:
            thread.join()


def _seen(look: Connection, migration: int, phase: str) -> Building:
    def there() -> Building | None:
        return next((one for one in building.read(look, migration) if one.phase == phase), None)

    found = until(there, "the build to come to this phase")
    assert found is not None
    return found


def test_a_build_shows_its_phase_and_whom_it_waits_for_in_status_and_metrics(sample: str) -> None:
    with psycopg.connect(sample, application_name="writer") as writer:
        writer.execute(WRITE.encode())
        with _built(sample) as (look, migration):
            first = _seen(look, migration, "waiting for writers before build")
            assert (first.table, first.share, first.eta_seconds) == ("graph_entities", 0.0, None)
            assert first.waits_for is not None
            assert (first.waits_for.pid, first.waits_for.application) == (writer.info.backend_pid, "writer")
            assert "behind pid" in built(first)

            shown = status.read(look, "graph")
            (told,) = shown.model_dump(mode="json")["building"]
            assert told["waits_for"]["application"] == "writer"
            series = {
                metric.name: metric.samples for metric in of(shown, Beside({}, 0, {}, spent=None)).every()
            }
            assert [one.value for one in series["tenantry_index_build_waiting"]] == [1.0]
            assert not series["tenantry_index_build_eta_seconds"]
            writer.rollback()
            until(lambda: building.read(look, migration) == (), "the end of the build")


def test_a_build_behind_an_old_snapshot_has_done_all_but_wait(sample: str) -> None:
    with psycopg.connect(sample, application_name="reader") as reader:
        reader.isolation_level = IsolationLevel.REPEATABLE_READ
        reader.execute("SELECT count(*) FROM graph_relations")
        with _built(sample) as (look, migration):
            last = _seen(look, migration, "waiting for old snapshots")
            assert (last.index, last.share, last.eta_seconds) == ("of_ours", 1.0, None)

            def behind() -> set[str | None]:
                """Whom it waits for; for a moment that is whoever looks, by the look's own snapshot."""
                return {one.waits_for.application for one in building.read(look, migration) if one.waits_for}

            until(lambda: behind() == {"reader"}, "the build to wait for the reader")
            reader.rollback()


def test_the_share_of_a_build_only_grows_from_phase_to_phase() -> None:
    shares = [share_of(phase, done, 10) for phase in building.PHASES for done in (0, 5, 10)]
    assert all(before <= after for before, after in pairwise(shares))
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert share_of("building index: scanning table", 20, 10) <= 0.25
    assert share_of("a phase of a server to come", 1, 2) == 0.0
