"""Accounts of migrations that never were, for what is drawn of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from control.holds import Holds, SetAside
from control.measured import Cost
from control.report.account import Account, Checked, Migrated, Server, Setting, Stage
from control.status import STAGES, Status
from worker.audit import Event
from worker.chronicle import Filled, Held, Pace

BEGAN = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
#: What a name or a message from a database may be, and must be text in a page.
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def after(seconds: float) -> datetime:
    """A moment so many seconds after the beginning."""
    return BEGAN + timedelta(seconds=seconds)


def held(since: float, until: float | None, reason: str = "replica lag in seconds: 12, stop at 10") -> Held:
    """A hold from `since` to `until`, in seconds after the beginning."""
    return Held("worker@host", reason, after(since), None if until is None else after(until), gone=False)


def pace(at: float, **signals: float | None) -> Pace:
    """Ten seconds of the pace."""
    seen: dict[str, Any] = dict.fromkeys(("commit", "lag", "waited", "query", "batch")) | signals
    return Pace(after(at), share=0.5, slowed_by="replica lag in seconds", **seen)


def filled(table: str, at: float, rows: int) -> Filled:
    """What a table got in a second."""
    return Filled(table, after(at), 1.0, rows, 10, 50.0)


def statement(what: str, *, took: float | None = 12.0, error: str | None = None) -> Event:
    """A statement of the keys stage."""
    return Event(
        at=after(70),
        actor="op@host",
        kind="statement",
        message=what,
        stage="keys",
        statement=f"ALTER TABLE {what} ADD CONSTRAINT {'long_name_' * 12} CHECK (true) NOT VALID",
        lock="ACCESS EXCLUSIVE",
        attempts=2,
        waited_ms=345.0 if took is not None else None,
        took_ms=took,
        error=error,
    )


def account(*, name: str = "graph_entities", states: dict[str, str] | None = None, **changes: Any) -> Account:
    """An account of a table called `name`; complete, unless `states` says of a stage that it isn't done."""
    found = dict.fromkeys(STAGES, "done") | (states or {})
    stages = [
        Stage(
            name=stage,
            state=found[stage],
            started_at=after(10 * at) if found[stage] != "open" else None,
            finished_at=after(10 * at + 9) if found[stage] == "done" else None,
            detail=f"waits: {name}" if found[stage] == "waiting" else None,
            confirmed_by=f"{name}@host" if stage == "application" else None,
            confirmed_at=after(55) if stage == "application" else None,
            cost=Cost(wal_bytes=5_000_000, disk_bytes=-3_000) if found[stage] == "done" else None,
            rehearsed_seconds=8.0,
        )
        for at, stage in enumerate(STAGES)
    ]
    complete = all(state == "done" for state in found.values())
    table = Migrated(
        name=name,
        state="complete" if found["backfill"] == "done" else "running",
        rows_total=200_000,
        rows_done=200_000 if found["backfill"] == "done" else 86_000,
        rows_per_second=4_000.0,
        seconds=50.0,
        batches={"pending": 0, "done": 250, "split": 0, "quarantined": 1},
        tenant={"parent": name, "on": {"source_id": "id"}, "otherwise": {"constant": name}},
        bytes_before=70_000_000,
        bytes_now=91_000_000,
    )
    status = Status(
        migration=name,
        state="complete" if complete else "running",
        started_at=BEGAN,
        finished_at=after(90) if complete else None,
        stages=list(stages),
        tables=[table],
        held=None,
        quarantine=1,
        oldest_pending_seconds=None,
        last_progress_at=None,
        replica_lag_seconds=None,
        replica_lag_bytes=None,
        workers_alive=2,
    )
    aside = SetAside(
        table=name,
        part=name,
        parted=False,
        key={"id": name},
        sqlstate="22P02",
        meaning="invalid text",
        message=name,
        since=after(40),
    )
    server = Server(
        kind="PostgreSQL",
        version="18.0",
        database="PostgreSQL graph at db:5432",
        standby=False,
        settings=(Setting(name="wal_level", value=name, source="default"),),
    )
    told: dict[str, Any] = {
        "made_at": after(120),
        "tenantry": "0.1.0",
        "server": server,
        "status": status,
        "stages": stages,
        "tables": [table],
        "rates": [filled(name, at, 4_000 - 50 * at) for at in range(50)],
        "paces": [pace(at, commit=0.004 * (at + 1), lag=at / 5, query=at) for at in range(0, 50, 10)],
        "throttled": True,
        "holds": [held(12, 20), held(15, 24, f"{name}: 3, stop at 2"), held(30, None)],
        "holding": ["worker@host"],
        "held": Holds(rows=(aside,), more=3, waiting=(), stopped=()),
        "events": [
            Event(at=BEGAN, actor="op@host", kind="run", message=f"to {name}"),
            statement(name),
            statement(name, took=None),
            statement(name, took=None, error=name),
        ],
        "checks": [
            Checked(name=f"{name}: a", ok=True, evidence=name, query="verify.count", sql=f"SELECT {name}"),
            Checked(name=f"{name}: b", ok=None, evidence="told", query="verify.count", sql=f"SELECT {name}"),
        ],
        "plan": f'name = "{name}"',
    }
    return Account(**told | changes)
