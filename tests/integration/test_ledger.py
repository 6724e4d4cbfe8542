"""What each call on the ledger writes and gives back, in both databases alike."""

from typing import Any

import psycopg
import pytest

from control.conductor import settings_of
from sql.database import Database
from sql.errors import LedgerGarbledError, LedgerVersionError, NoMigrationError
from sql.postgres.connection import connect
from sql.postgres.facts import Catalog
from sql.sqlite.connection import File
from tests.filled_table import spec_of_items
from tests.integration.migrated import plan
from worker import audit, jobs, ledger, version
from worker.governor.limits import Sample
from worker.jobs import Job

Opened = tuple[Database, int]

_SETTINGS = settings_of(plan(), throttle=True)


def _write(database: Database, table: str, assignment: str) -> None:
    """Change every row of one of the ledger's tables by hand."""
    of = f"tenantry_{table}" if isinstance(database, File) else f"tenantry.{table}"
    statement = f"UPDATE {of} SET {assignment}"
    database.execute(statement if isinstance(database, File) else statement.encode())  # type: ignore[arg-type]


def _begun(database: Database, name: str, **given: Any) -> ledger.Migration:
    known: dict[str, Any] = {"tables": ["a"], "original": {"tables": []}, "settings": _SETTINGS}
    return ledger.begin(database, name=name, **known | given)


def _job(database: Database, migration: int) -> Job:
    jobs.add(
        database,
        migration,
        table="items",
        part="items",
        spec=spec_of_items(),
        last_key=["9"],
        batch_rows=100,
        rows_total=9,
        why="it is small",
    )
    (job,) = jobs.of_migration(database, migration)
    return job


def test_a_database_without_a_ledger_has_no_migration_no_workers_to_be_and_nothing_to_hold(
    database: str,
) -> None:
    with connect(database, "test") as session:
        assert not ledger.exists(session)
        assert ledger.find(session, "graph") is None
        assert ledger.workers(session, "graph") is None
        with pytest.raises(NoMigrationError, match="graph"):
            ledger.hold(session, "graph")


def test_a_ledger_of_another_version_is_refused_with_both_versions(opened: Opened) -> None:
    database, _ = opened
    assert ledger.exists(database)
    _write(database, "version", "version = version + 1")
    with pytest.raises(LedgerVersionError) as refused:
        ledger.exists(database)
    assert str(version.VERSION + 1) in str(refused.value)
    assert refused.value.args == LedgerVersionError(version.VERSION + 1, version.VERSION).args


def test_a_migration_that_is_begun_again_keeps_its_tables_and_original_and_takes_the_settings(
    opened: Opened,
) -> None:
    database, _ = opened
    first = _begun(database, "shop", tables=["a", "b"], original={"tables": [1]})
    assert (first.name, first.state, first.tables) == ("shop", "running", ["a", "b"])
    assert (first.original, first.settings, first.tuned, first.held) == ({"tables": [1]}, _SETTINGS, {}, None)
    other = _SETTINGS.model_copy(update={"target": 7.0})
    again = _begun(database, "shop", tables=["c"], original={}, settings=other)
    assert (again.id, again.tables, again.original) == (first.id, ["a", "b"], {"tables": [1]})
    assert again.settings == other
    assert ledger.read(database, "shop") == ledger.find(database, "shop") == again


def test_a_migration_that_is_not_on_record_is_none_and_reading_it_names_it(opened: Opened) -> None:
    database, _ = opened
    assert ledger.find(database, "nobody") is None
    with pytest.raises(NoMigrationError) as missing:
        ledger.read(database, "nobody")
    assert str(missing.value) == str(NoMigrationError("nobody"))


def test_settings_that_were_written_by_hand_are_told_with_their_place_and_the_migrations_name(
    opened: Opened,
) -> None:
    database, _ = opened
    _write(database, "migrations", """settings = '{"target": "soon"}'""")
    with pytest.raises(LedgerGarbledError) as garbled:
        ledger.find(database, "graph")
    assert "migrations.settings" in str(garbled.value)
    assert "graph" in str(garbled.value)


def test_a_job_of_such_settings_is_told_with_the_same_place(opened: Opened) -> None:
    database, migration = opened
    job = _job(database, migration)
    _write(database, "migrations", """settings = '{"target": "soon"}'""")
    with pytest.raises(LedgerGarbledError, match=r"migrations\.settings of graph can"):
        ledger.current(database, job.id)


def test_an_original_that_was_written_by_hand_is_told_with_its_place_and_the_migrations_name(
    opened: Opened,
) -> None:
    database, _ = opened
    _write(database, "migrations", """original = '{"tables": 7}'""")
    with pytest.raises(LedgerGarbledError, match=r"migrations\.original of graph can"):
        ledger.read(database, "graph").before(Catalog)


def test_who_holds_a_migration_has_it_alone_until_the_end_of_the_transaction(database: str) -> None:
    with connect(database, "test") as session, psycopg.connect(database) as other:
        version.create(session)
        begun = _begun(session, "shop")
        _begun(session, "other")
        with session.transaction():
            assert ledger.hold(session, "shop") == begun
            waits = session.execute("SELECT current_setting('lock_timeout')").fetchone()
            assert waits == ("5s",)
            free = "SELECT name FROM tenantry.migrations ORDER BY name FOR UPDATE SKIP LOCKED"
            assert other.execute(free).fetchall() == [("other",)]


def test_what_is_tuned_is_kept_with_the_settings_of_that_migration_alone(opened: Opened) -> None:
    database, migration = opened
    other = _begun(database, "other")
    settings = _SETTINGS.model_copy(update={"workers": 3, "active": ("22:00-06:00",)})
    ledger.tune(database, migration, {"workers": 3}, settings)
    found = ledger.read(database, "graph")
    assert (found.tuned, found.settings) == ({"workers": 3}, settings)
    assert ledger.workers(database, "graph") == 3
    assert ledger.workers(database, "other") is None
    assert ledger.workers(database, "nobody") is None
    assert ledger.read(database, "other") == other


def test_a_job_goes_by_the_settings_of_its_migration_and_not_at_all_unless_it_runs(opened: Opened) -> None:
    database, migration = opened
    _begun(database, "other")
    job = _job(database, migration)
    assert ledger.current(database, job.id) == ledger.Current(migration, "graph", _SETTINGS, job.started_at)
    assert ledger.current(database, job.id + 1) is None
    ledger.set_state(database, migration, "paused")
    assert ledger.current(database, job.id) is None


def test_a_state_is_of_one_migration_and_complete_has_its_time(opened: Opened) -> None:
    database, migration = opened
    other = _begun(database, "other")
    ledger.set_state(database, migration, "complete")
    assert (ledger.state(database, migration), ledger.state(database, other.id)) == ("complete", "running")
    assert ledger.read(database, "graph").finished_at is not None
    ledger.set_state(database, migration, "rolling back")
    assert ledger.read(database, "graph").finished_at is None


def test_tables_that_left_the_plan_leave_the_migration_and_no_other(opened: Opened) -> None:
    database, _ = opened
    one, other = (_begun(database, name, tables=["a", "b"]) for name in ("one", "other"))
    ledger.keep_tables(database, one.id, ["b"])
    assert ledger.read(database, "one").tables == ["b"]
    assert ledger.read(database, "other").tables == other.tables


def test_the_last_migration_that_is_forgotten_takes_the_ledger_along(opened: Opened) -> None:
    database, migration = opened
    other = _begun(database, "other")
    ledger.forget(database, migration)
    assert ledger.find(database, "graph") is None
    assert ledger.read(database, "other") == other
    ledger.forget(database, other.id)
    assert not ledger.exists(database)


def test_a_value_is_remembered_under_its_key_in_place_of_the_one_before(opened: Opened) -> None:
    database, migration = opened
    other = ledger.Memory(database, _begun(database, "other").id)
    memory = ledger.Memory(database, migration)
    assert memory.recall("a") is None
    for key, value in (("a", {"n": 1}), ("b", {"n": 2}), ("a", {"n": 3})):
        memory.remember(key, value)
    assert (memory.recall("a"), memory.recall("b"), memory.recall("c")) == ({"n": 3}, {"n": 2}, None)
    assert other.recall("a") is None


def test_nothing_is_recalled_of_a_migration_that_is_forgotten(opened: Opened) -> None:
    database, migration = opened
    _begun(database, "other")
    ledger.forget(database, migration)
    assert ledger.Memory(database, migration).recall("a") is None


def test_who_holds_is_told_with_the_reason_and_whether_it_is_everybody(database: str) -> None:
    with connect(database, "worker a") as session, connect(database, "worker b") as beside:
        version.create(session)
        migration, other = _begun(session, "shop").id, _begun(session, "other").id
        ledger.set_held(session, migration, "a", "lag: 9")
        assert not ledger.everybody_holds(session, migration)
        ledger.set_held(beside, migration, "b", "lag: 8")
        first, second = ledger.holding(session, migration)
        assert [(one.worker, one.reason) for one in (first, second)] == [("a", "lag: 9"), ("b", "lag: 8")]
        assert first.since < second.since
        assert ledger.everybody_holds(session, migration) is True
        assert ledger.everybody_holds(session, other) is False
        assert ledger.holding(session, other) == []
        ledger.set_held(session, migration, "a", None)
        assert [one.worker for one in ledger.holding(session, migration)] == ["b"]
        ledger.clear_held(session, other)
        assert ledger.read(session, "shop").held is not None
        ledger.clear_held(session, migration)
        assert ledger.read(session, "shop").held is None


def test_the_governors_last_sample_is_kept_in_place_of_the_one_before(opened: Opened) -> None:
    database, migration = opened
    assert ledger.governor(database, migration) is None
    for zone, share, reason, lag in (("hold", 0.0, "lag: 9", 9.0), ("keep", 0.5, "lag: 1", 1.0)):
        sample = Sample.model_validate({"values": {"lag": lag}})
        ledger.show_governor(database, migration, zone=zone, share=share, reason=reason, sample=sample)
    found = ledger.governor(database, migration)
    assert found == ledger.GovernorRecord("keep", 0.5, "lag: 1", sample, found.age if found else 0.0)
    assert ledger.governor(database, migration + 1) is None


def test_a_stage_has_its_state_its_detail_and_who_vouched_for_it(opened: Opened) -> None:
    database, migration = opened
    other = _begun(database, "other").id
    ledger.set_stage(database, migration, "keys", "waiting", "a gate is closed")
    ledger.confirm(database, migration, "keys", "me")
    ledger.confirm(database, migration, "rls", "you")
    ledger.confirm(database, other, "keys", "they")
    found = ledger.stages(database, migration)
    assert sorted(found) == ["keys", "rls"]
    keys = found["keys"]
    assert (keys.state, keys.detail, keys.confirmed_by) == ("waiting", "a gate is closed", "me")
    assert keys.confirmed_at is not None
    assert keys.closed_since is not None
    ledger.withdraw_confirmation(database, migration, "keys")
    found = ledger.stages(database, migration)
    assert (found["keys"].confirmed_by, found["rls"].confirmed_by) == (None, "you")
    assert ledger.stages(database, other)["keys"].confirmed_by == "they"
    ledger.set_stage(database, migration, "keys", "done")
    assert (ledger.stages(database, migration)["keys"].detail) is None


def test_an_entry_of_the_audit_has_who_what_and_the_facts_and_is_due_only_where_it_was_asked_to_be(
    opened: Opened,
) -> None:
    database, migration = opened
    audit.record(database, migration, "me", "pause", "for lunch")
    audit.record(database, migration, "you", "held", "lag", stage="backfill", about={"lag": 9}, due=True)
    audit.record(database, _begun(database, "other").id, "they", "pause", "other")
    first, second = audit.events(database, migration)
    assert first == audit.Event(at=first.at, actor="me", kind="pause", message="for lunch")
    assert second == audit.Event(
        at=second.at,
        actor="you",
        kind="held",
        message="lag",
        stage="backfill",
        about={"lag": 9},
        delivery="due",
    )
    told = [[one.message for one in audit.newest_events(database, migration, most)] for most in (1, 5)]
    assert told == [["lag"], ["for lunch", "lag"]]


def test_facts_that_are_none_are_none_in_the_ledger(database: str) -> None:
    with connect(database, "test") as session:
        version.create(session)
        audit.record(session, _begun(session, "shop").id, "me", "pause", "for lunch")
        told = session.execute("SELECT about IS NULL, delivery IS NULL FROM tenantry.events")
        assert told.fetchall() == [(True, True)]


def test_a_statement_is_in_the_audit_from_its_beginning_and_has_its_figures_at_its_end(
    opened: Opened,
) -> None:
    database, migration = opened
    known: dict[str, Any] = {"stage": "keys", "statement": "ALTER TABLE a", "lock": "ACCESS EXCLUSIVE"}
    done, failed = (
        audit.begin_statement(database, migration, actor, what=what, **known)
        for actor, what in (("me", "a: a key"), ("you", "b: a key"))
    )
    begun = audit.Event.model_validate(
        known
        | {"at": audit.events(database, migration)[0].at, "actor": "me", "kind": "statement"}
        | {"message": "a: a key"}
    )
    assert audit.events(database, migration)[0] == begun
    audit.end_statement(database, done, attempts=2, waited=0.25, took=1.5)
    audit.end_statement(database, failed, error="it is there")
    ended, refused = audit.events(database, migration)
    assert ended == begun.model_copy(update={"attempts": 2, "waited_ms": 250.0, "took_ms": 1500.0})
    assert (refused.error, refused.attempts, refused.waited_ms, refused.took_ms) == (
        "it is there",
        None,
        None,
        None,
    )


def test_that_a_signal_cant_be_read_is_said_once_for_each_signal_and_migration(opened: Opened) -> None:
    database, migration = opened
    other = _begun(database, "other").id
    said = [
        audit.record_unreadable(database, of, "a", message)
        for of, message in (
            (migration, "lag: no right"),
            (migration, "lag: still none"),
            (migration, "waiting: no right"),
            (other, "lag: no right"),
        )
    ]
    assert said == [True, False, True, True]
    assert [(one.actor, one.kind, one.message) for one in audit.events(database, migration)] == [
        ("a", "unreadable", "lag: no right"),
        ("a", "unreadable", "waiting: no right"),
    ]
