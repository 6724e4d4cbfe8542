"""Migrations to look at, as the ledger tells of them."""

from datetime import UTC, datetime, timedelta

from control.holds import Blocking, SetAside, Waiting
from control.status import STAGES, StageStatus, Status, TableStatus
from sql.postgres.locks import Blocker

BEGAN = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)

#: Of states, as the ledger has them, by stage.
HALFWAY = {"preflight": "done", "backup": "done", "columns": "done", "backfill": "running"}

TABLE = TableStatus(
    name="graph_entities",
    state="running",
    rows_total=200_000,
    rows_done=50_000,
    rows_per_second=12_345.6,
    eta_seconds=75,
)


WAITING = Waiting(
    table="graph_entities",
    part='"public"."graph_entities"',
    parted=False,
    sqlstate="55P03",
    meaning="a lock was not free in time",
    batches=3,
    error=None,
    since=BEGAN,
    next_try_at=BEGAN + timedelta(seconds=12),
    blocked_by=(
        Blocking(certain=True, session=Blocker(7, "web", "shop", 61.0, "idle in transaction", "SELECT 1")),
    ),
    hidden="GRANT pg_read_all_stats TO tenantry",
)
SET_ASIDE = SetAside(
    table="graph_entities",
    part='"public"."graph_entities"',
    parted=False,
    key={"id": "42", "kind": "a b"},
    sqlstate="23514",
    meaning="check violation",
    message="not this one",
    since=BEGAN,
)


def _stage(name: str, state: str, detail: str | None = None) -> StageStatus:
    return StageStatus(
        name=name,
        state=state,
        started_at=None if state == "open" else BEGAN,
        finished_at=BEGAN + timedelta(seconds=2) if state == "done" else None,
        detail=detail,
    )


def status_of(
    states: dict[str, str], *tables: TableStatus, held: str | None = None, detail: str | None = None
) -> Status:
    return Status(
        migration="m",
        state="running",
        started_at=BEGAN,
        finished_at=None,
        stages=[
            _stage(name, states.get(name, "open"), detail if name in states else None) for name in STAGES
        ],
        tables=list(tables),
        held=held,
        quarantine=0,
        oldest_pending_seconds=None,
        last_progress_at=None,
        replica_lag_seconds=None,
        replica_lag_bytes=None,
        workers_alive=2,
    )
