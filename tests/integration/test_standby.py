"""Lag of a real standby: its replay paused, itself killed, and back; whoever looks, and on an idle server."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from control import conductor, status
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from sql.postgres.connection import connect
from tests.integration.backfilling import backfilling, count_updates, plan_of
from tests.integration.governed import Watch, settings_of, watching
from tests.integration.standby import Standby, standby
from tests.waiting import until
from worker import version
from worker.governor import shared as shared_state
from worker.governor.limits import LABELS
from worker.governor.pace import Governor
from worker.governor.signals import look

LAG = settings_of("lag", 0.5)


@pytest.fixture(scope="module")
def replica(postgres: EmbeddedPostgres) -> Iterator[Standby]:
    """A standby of the tests' server; each test leaves it streaming."""
    with standby(postgres, "replica") as made:
        yield made


@pytest.fixture
def watch(database: str, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """A governor that samples twenty times a second, on a database with a ledger."""
    monkeypatch.setattr(shared_state, "SAMPLE_EVERY", 0.05)
    with connect(database, "test") as session:
        version.create(session)
    with watching(database, valkey) as watching_:
        watching_.shop.autocommit = True
        yield watching_


def _write(watch: Watch, kilobytes: int = 1) -> None:
    # Not transactional, so it is not flushed, and a standby gets what is flushed only.
    watch.shop.execute("SELECT pg_logical_emit_message(true, 'test', repeat('x', %s))", [kilobytes * 1024])


def test_replay_that_stands_still_stops_batches_until_it_goes_on(watch: Watch, replica: Standby) -> None:
    watch.goes(LAG)
    replica.pause()
    try:
        _write(watch)
        assert "(replica), stop at 0.5" in watch.holds("lag", LAG)
    finally:
        replica.resume()
    watch.goes(LAG)


def test_bytes_not_replayed_stop_batches_until_they_are(watch: Watch, replica: Standby) -> None:
    settings = settings_of("lag_bytes", 1_000_000)
    watch.goes(settings)
    replica.pause()
    try:
        _write(watch, 2_000)
        assert "(replica), stop at 1e+06" in watch.holds("lag_bytes", settings)
    finally:
        replica.resume()
    watch.goes(settings)


def test_lag_in_time_is_the_same_whichever_worker_looks_and_goes_on_while_nothing_is_written(
    watch: Watch, replica: Standby
) -> None:
    one = watch.governor
    # Another worker, with nothing of its own to remember.
    other = replace(watch, governor=Governor(one.shared, one.pool, "another"))
    replica.pause()
    try:
        _write(watch)
        watch.holds("lag", LAG)
        assert watch.governor.taken is not None
        first = watch.governor.taken.posted
        other.sample(LAG)
        assert other.governor.taken is not None
        second = other.governor.taken.posted
        # Both count from the one moment at which the position was written.
        assert second.at > first.at
        assert second.sample.values["lag"] - first.sample.values["lag"] == pytest.approx(second.at - first.at)
    finally:
        replica.resume()


def test_a_standby_that_is_killed_is_lag_until_it_is_back(watch: Watch, replica: Standby) -> None:
    watch.goes(LAG)
    replica.kill()
    try:
        _write(watch)
        assert "(replica, not streaming)" in watch.holds("lag", LAG)
    finally:
        replica.start()
    watch.goes(LAG)


def test_a_standby_is_missed_after_a_flush_of_the_queue_server_too_until_an_operator_forgets_it(
    watch: Watch, replica: Standby
) -> None:
    with connect(watch.url, "controller") as session:
        settings = conductor.watching(session, LAG)
        assert settings.standbys == ("replica",)
        replica.kill()
        try:
            watch.governor.shared.client.flushdb()
            fresh = replace(watch, governor=Governor(watch.governor.shared, watch.governor.pool, "fresh"))
            assert "0.5 (replica, not streaming), stop at 0.5" in fresh.holds("lag", settings)
            # A run that is begun anew misses it as well.
            assert conductor.watching(session, LAG, settings).standbys == ("replica",)
            forgetting = settings.model_copy(update={"forget_standbys": ("replica",)})
            fresh.goes(forgetting)
            assert conductor.watching(session, forgetting, settings).standbys == ()
        finally:
            replica.start()


def test_a_run_that_is_begun_anew_after_a_failover_misses_nobody_but_those_that_stayed_behind(
    database: str, replica: Standby
) -> None:
    with connect(database, "controller") as session:
        here = conductor.watching(session, LAG)
        assert (here.standbys, here.timeline) == ((replica.name,), 1)
        one = here.model_copy(update={"standbys": ("promoted", replica.name), "timeline": 0})
        assert conductor.watching(session, LAG, one) == here
        # Two are gone by one failover: nobody knows which of them became the primary.
        two = one.model_copy(update={"standbys": ("promoted", "left behind")})
        again = conductor.watching(session, LAG, two)
        assert (again.standbys, again.timeline) == (("left behind", "promoted", replica.name), 0)


def test_of_two_standbys_with_one_name_the_one_that_is_killed_is_missed(
    watch: Watch, replica: Standby, postgres: EmbeddedPostgres
) -> None:
    with standby(postgres, replica.name) as namesake:
        with connect(watch.url, "controller") as session:
            assert conductor.watching(session, LAG).standbys == ("replica", "replica")
        watch.goes(LAG)
        namesake.kill()
        _write(watch)
        assert "(replica, not streaming)" in watch.holds("lag", LAG)
        namesake.start()
        watch.goes(LAG)


def test_a_standby_is_called_by_its_slot(watch: Watch, postgres: EmbeddedPostgres) -> None:
    with standby(postgres, "slotted", slot=True) as slotted:
        watch.goes(LAG)
        slotted.kill()
        _write(watch)
        assert "(slotted, not streaming)" in watch.holds("lag", LAG)
        slotted.start()
        watch.goes(LAG)


def test_a_role_that_may_not_see_the_standbys_says_so_instead_of_no_lag(
    watch: Watch, replica: Standby, postgres: EmbeddedPostgres
) -> None:
    assert replica.streaming() == 1
    watch.shop.execute("CREATE ROLE onlooker LOGIN")
    try:
        watch.shop.execute("GRANT USAGE ON SCHEMA tenantry TO onlooker")
        watch.shop.execute("GRANT SELECT ON ALL TABLES IN SCHEMA tenantry TO onlooker")
        with connect(postgres.url(watch.shop.info.dbname, "onlooker"), "worker test") as session:
            seen = look(session, LAG)
            assert conductor.watching(session, LAG).standbys == ()
        grant = "GRANT pg_read_all_stats TO onlooker"
        assert (seen.sample.unreadable["lag"], seen.sample.unreadable["lag_bytes"]) == (grant, grant)
    finally:
        watch.shop.execute("DROP OWNED BY onlooker")
        watch.shop.execute("DROP ROLE onlooker")


_PAUSED = (Standby.pause, Standby.resume, "(replica)")
_KILLED = (Standby.kill, Standby.start, "(replica, not streaming)")


@pytest.mark.parametrize("trouble", [_PAUSED, _KILLED], ids=["paused", "killed"])
def test_a_backfill_is_held_by_a_standby_says_so_and_goes_on_by_itself(
    sample: str,
    valkey: EmbeddedValkey,
    replica: Standby,
    trouble: tuple[Callable[[Standby], None], Callable[[Standby], None], str],
) -> None:
    stop, go, who = trouble
    plan = plan_of(sample, governor={"max_lag": "500ms", "stop_lag": "1s"})
    with psycopg.connect(sample, autocommit=True) as shop, connect(sample, "status") as session:
        count_updates(shop, seconds_per_row=0.001)  # else it would be over before the lag is a second

        def held() -> str:
            return status.read(session, plan.name).held or ""

        with backfilling(plan, valkey.url) as run:
            run.reach("graph_entities", 0.1)
            stop(replica)
            try:
                reason = until(lambda: held() if LABELS["lag"] in held() else "", "a hold by lag")
                assert who in reason
                until(lambda: (status.read(session, plan.name).replica_lag_seconds or 0.0) > 1.0, "that lag")
                assert run.thread.is_alive()
            finally:
                go(replica)
            until(lambda: not held(), "the backfill to go on")
            shop.execute("DROP FUNCTION see_update CASCADE")
            run.end()
        left = shop.execute(
            "SELECT (SELECT count(*) FROM graph_entities WHERE tenant_id = '') "
            "+ (SELECT count(*) FROM graph_relations WHERE tenant_id = '')"
        ).fetchone()
    assert left == (0,)
