"""What became of a run: each row, how often it was written, the ledger, and the application's own journal."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from control.demo import journal
from control.demo.messages import Report
from sql.postgres.connection import connect

#: Counts updates row by row, those of workers apart; in the transaction of the update itself, so what is
#: rolled back does not count. A worker's take a while, for batches that can be hit.
COUNTING = """
CREATE TABLE public.updates_seen (of_table text NOT NULL, id text NOT NULL, by_worker boolean NOT NULL);
CREATE INDEX ON public.updates_seen (id);
GRANT INSERT ON public.updates_seen TO PUBLIC;
CREATE FUNCTION public.see_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    by_worker CONSTANT boolean := current_setting('application_name') LIKE 'tenantry worker %';
BEGIN
    IF by_worker THEN
        PERFORM pg_sleep(0.0004);
    END IF;
    INSERT INTO public.updates_seen VALUES (TG_TABLE_NAME, NEW.id, by_worker);
    RETURN NEW;
END $$;
CREATE TRIGGER see_update BEFORE UPDATE ON public.graph_entities
    FOR EACH ROW EXECUTE FUNCTION public.see_update();
CREATE TRIGGER see_update BEFORE UPDATE ON public.graph_relations
    FOR EACH ROW EXECUTE FUNCTION public.see_update();
"""

#: Rows under another tenant than their own; written by workers more than once; or there from the beginning,
#: and written by nobody.
_ROWS = """
WITH graph AS (
    SELECT 'graph_entities' AS of_table, id, tenant_id IS NOT DISTINCT FROM properties->>'org_id' AS well
    FROM graph_entities
    UNION ALL
    SELECT 'graph_relations', r.id, r.tenant_id IS NOT DISTINCT FROM e.properties->>'org_id'
    FROM graph_relations AS r JOIN graph_entities AS e ON e.id = r.source_id
), seen AS (
    SELECT of_table, id, count(*) FILTER (WHERE by_worker) AS by_worker
    FROM updates_seen GROUP BY of_table, id
)
SELECT
    (SELECT count(*) FROM graph WHERE NOT well),
    (SELECT count(*) FROM seen WHERE by_worker > 1),
    (SELECT count(*) FROM graph LEFT JOIN seen USING (of_table, id)
     WHERE seen.id IS NULL AND (graph.id LIKE 'entity-%' OR graph.id LIKE 'relation-%')),
    (SELECT count(*) FROM graph)
"""

_BATCHES = """
SELECT job_id, coalesce(stripe, 0), lower, upper FROM tenantry.batches
WHERE origin = 'plan' AND state <> 'split' ORDER BY id
"""
_JOBS = "SELECT id, state, last_key, (spec->>'stripes')::int, part FROM tenantry.jobs ORDER BY id"
_LEFT = """
SELECT (SELECT count(*) FROM tenantry.batches WHERE state NOT IN ('done', 'split')),
       (SELECT count(*) FROM tenantry.quarantine)
"""


@dataclass(frozen=True)
class Verdict:
    """What became of a run under a fault, as the table at the end shows it.

    `shares` is the share of the batches that was done at the first and at the last blow; `problems` is empty
    where everything is as promised.
    """

    fault: str
    seed: int
    struck: int
    shares: tuple[float, float]
    batches: int
    rows_right: bool
    once: bool
    gapless: bool
    kept: bool
    acknowledged: int
    operations: int
    errors: int
    retries: int
    longest_stall_ms: float
    seconds: float
    starts: int
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """For the process that prints the table."""
        return asdict(self)


@dataclass(frozen=True)
class Blow:
    """A fault that struck; how many batches were done before it and after."""

    before: int
    after: int


def hold_against(
    url: str,
    folder: Path,
    *,
    entities: int,
    application: Report,
    blows: Sequence[Blow],
    fault: str,
    seed: int,
    seconds: float,
    starts: int,
) -> Verdict:
    """Hold everything that is promised against the database; `folder` has the application's journal."""
    with connect(url, "test") as connection:
        row = connection.execute(_ROWS).fetchone()
        assert row is not None
        wrong, twice, never, there = row
        ledger = list(_gaps(connection))
        kept = journal.check(connection, folder, entities=entities, tenant_column="tenant_id")
        counted = connection.execute(
            "SELECT count(*) FROM tenantry.batches WHERE state NOT IN ('split')"
        ).fetchone()
    batches = counted[0] if counted else 0
    at = sorted(done / max(batches, 1) for blow in blows for done in (blow.before, blow.after))
    shares = (at[0], at[-1]) if at else (0.0, 1.0)
    problems = [
        *([f"{wrong} of {there} rows are under another tenant, or under none"] if wrong else []),
        *([f"{twice} rows were updated more than once by workers"] if twice else []),
        *([f"{never} rows of the beginning were updated by nobody"] if never else []),
        *ledger,
        *(f"{check.name}: {check.evidence}" for check in kept.checks if not check.ok),
        *([] if shares[0] >= 0.1 and shares[1] <= 0.9 else [f"struck at {shares[0]:.0%} to {shares[1]:.0%}"]),
    ]
    return Verdict(
        fault=fault,
        seed=seed,
        struck=len(blows),
        shares=shares,
        batches=batches,
        rows_right=not wrong,
        once=not twice and not never,
        gapless=not ledger,
        kept=kept.ok,
        acknowledged=kept.acknowledged,
        operations=application.operations,
        errors=application.errors,
        retries=application.two_key_retries,
        longest_stall_ms=application.worst_ms,
        seconds=seconds,
        starts=starts,
        problems=tuple(problems),
    )


def _gaps(connection: psycopg.Connection) -> Iterator[str]:
    """What is missing in the ledger, followed from range to range and not by the product's own statement."""
    chains: dict[tuple[int, int], dict[tuple[str, ...] | None, tuple[str, ...]]] = defaultdict(dict)
    for job, stripe, lower, upper in connection.execute(_BATCHES):
        begins = tuple(lower) if lower is not None else None
        if begins in chains[job, stripe]:
            yield f"job {job}, stripe {stripe}: two ranges begin at {begins}"
        chains[job, stripe][begins] = tuple(upper)
    for job, state, last_key, stripes, part in connection.execute(_JOBS):
        if state != "complete":
            yield f"{part} is {state}"
        for stripe in range(stripes or 1):
            chain, at, links = chains[job, stripe], None, 0
            while at in chain and links <= len(chain):
                at, links = chain[at], links + 1
            if at is None or list(at) != last_key or links != len(chain):
                yield f"{part}, stripe {stripe}: {links} of {len(chain)} ranges, to {at} and not {last_key}"
    row = connection.execute(_LEFT).fetchone()
    if row != (0, 0):
        yield f"left in the ledger, and in quarantine: {row}"
