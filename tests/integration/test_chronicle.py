"""What the ledger keeps over time, in both databases alike: holds from when to when, and the pace."""

import psycopg
import pytest

from control.conductor import settings_of
from sql.database import Database
from sql.postgres.connection import connect
from sql.sqlite import connection as sqlite
from tests.integration.migrated import plan
from worker import chronicle, ledger, version
from worker.governor.limits import Sample


def _show(
    database: Database, migration: int, share: float = 1.0, zone: str = "keep", **values: float
) -> None:
    sample = Sample.model_validate({"values": values})
    reason = "replica lag in seconds: 9, stop at 5" if zone != "keep" else ""
    ledger.show_governor(database, migration, zone=zone, share=share, reason=reason, sample=sample)


def _earlier(database: Database, table: str, seconds: int) -> None:
    """Have what is kept be of an earlier time."""
    if isinstance(database, sqlite.File):
        database.execute(f"UPDATE tenantry_{table} SET at = at - {seconds}")
    else:
        database.execute(f"UPDATE tenantry.{table} SET at = at - interval '{seconds} s'".encode())


def test_a_hold_ends_where_the_worker_goes_on_and_begins_anew_for_another_reason(
    opened: tuple[Database, int],
) -> None:
    database, migration = opened
    for reason in ("lag: 9", "waiting: 3", None, "lag: 7"):
        ledger.set_held(database, migration, "a", reason)
    first, second, last = chronicle.holds(database, migration)
    assert [one.reason for one in (first, second, last)] == ["lag: 9", "waiting: 3", "lag: 7"]
    assert first.until is not None
    assert second.until is not None
    assert first.since <= first.until <= second.until <= last.since
    assert last.until is None
    ledger.clear_held(database, migration)
    assert all(one.until and not one.gone for one in chronicle.holds(database, migration))


def test_the_hold_of_a_worker_that_is_gone_is_ended_by_the_next_change_and_said_to_be_that(
    opened: tuple[Database, int],
) -> None:
    database, migration = opened
    ledger.set_held(database, migration, "killed", "lag: 9")
    ledger.set_held(database, migration, "a", "lag: 8")
    killed, held = chronicle.holds(database, migration)
    assert (killed.worker, killed.gone, killed.until is not None) == ("killed", True, True)
    assert (held.worker, held.gone, held.until) == ("a", False, None)


def test_no_more_holds_are_kept_than_so_many(
    opened: tuple[Database, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, migration = opened
    monkeypatch.setattr(ledger, "HOLDS", 3)
    for at in range(10):
        ledger.set_held(database, migration, "a", f"lag: {at}")
    assert [one.reason for one in chronicle.holds(database, migration)] == ["lag: 7", "lag: 8", "lag: 9"]


def test_ten_seconds_of_samples_are_one_row_with_the_mean_share_and_the_worst_signals(
    opened: tuple[Database, int],
) -> None:
    database, migration = opened
    # All of them within the same ten seconds, or none after the first is begun: so the clock is not asked.
    while len(chronicle.paces(database, migration)) != 1 or not _whole(database):
        _emptied(database)
        _show(database, migration, 1.0, commit=0.2, lag=3.0)
        _show(database, migration, 0.4, "hold", commit=0.1)
        _show(database, migration, 0.1, lag=5.0)
    (pace,) = chronicle.paces(database, migration)
    assert pace.share == pytest.approx(0.5)
    assert (pace.commit, pace.lag, pace.waited) == (0.2, 5.0, None)
    assert pace.slowed_by == "replica lag in seconds"
    assert pace.at.timestamp() % 10 == 0


def _whole(database: Database) -> bool:
    table = "tenantry_paces" if isinstance(database, sqlite.File) else "tenantry.paces"
    row = database.execute(f"SELECT samples FROM {table}").fetchone()
    assert row is not None
    return int(row[0]) == 3


def _emptied(database: Database) -> None:
    table = "tenantry_paces" if isinstance(database, sqlite.File) else "tenantry.paces"
    database.execute(f"DELETE FROM {table}")


def test_past_so_many_rows_each_two_neighbours_become_one_that_has_the_worst_of_both(
    opened: tuple[Database, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, migration = opened
    monkeypatch.setattr(ledger, "PACES", 6)
    for at in range(7):
        _earlier(database, "paces", 10)
        _show(database, migration, share=at / 10, lag=float(at))
    found = chronicle.paces(database, migration)
    assert [pace.lag for pace in found] == [1.0, 3.0, 5.0, 6.0]
    assert [pace.share for pace in found] == pytest.approx([0.05, 0.25, 0.45, 0.6])
    _show(database, migration, lag=7.0)
    assert len(chronicle.paces(database, migration)) <= 5


def test_a_migration_that_is_forgotten_takes_its_history_along(opened: tuple[Database, int]) -> None:
    database, migration = opened
    settings = settings_of(plan(), throttle=True)
    other = ledger.begin(database, name="other", tables=[], original={}, settings=settings)
    for one in (migration, other.id):
        _show(database, one)
        ledger.set_held(database, one, "a", "lag: 9")
    ledger.forget(database, migration)
    assert chronicle.paces(database, migration) == []
    assert chronicle.holds(database, migration) == []
    assert len(chronicle.paces(database, other.id)) == 1
    assert len(chronicle.holds(database, other.id)) == 1


def test_whoever_keeps_the_migration_s_row_locked_keeps_no_sample_waiting(database: str) -> None:
    with connect(database, "worker a") as session, psycopg.connect(database) as other:
        version.create(session)
        settings = settings_of(plan(), throttle=True)
        migration = ledger.begin(session, name="graph", tables=[], original={}, settings=settings).id
        _show(session, migration)
        _emptied(session)
        other.execute("SELECT FROM tenantry.migrations FOR UPDATE")
        session.execute("SET lock_timeout = '2s'")
        _show(session, migration)
        assert len(chronicle.paces(session, migration)) == 1
