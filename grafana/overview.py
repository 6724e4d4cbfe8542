"""*Overview*: is it moving, will it finish, is anybody hurt, and why is it slow."""

from control import status
from control.exported import series
from control.plan.governor import Governor
from grafana.frame import ACTIONS, Rows
from grafana.panels import (
    BLUE,
    FACT,
    GREEN,
    GREY,
    NONE_IS_WELL,
    ORANGE,
    RED,
    Panel,
    Thresholds,
    against,
    at_all_times,
    columns,
    figure,
    lines,
    more_in,
    now,
    timeline,
    word,
)
from grafana.queries import coded, exported, largest, rate, rows_per_second
from worker.governor.limits import SignalName

QUESTION = "Is it moving, will it finish, is anybody hurt, and why is it slow?"

#: A stage's states as numbers, with their colours.
STATES = {
    1: ("open", GREY),
    2: ("running", BLUE),
    3: ("waiting", ORANGE),
    4: ("failed", RED),
    5: ("done", GREEN),
}


def _by_default(signal: SignalName) -> Thresholds:
    """Orange where the governor halves the pace unless told otherwise, red where it lets no batch go."""
    limit = Governor().limits()[signal]
    return ((None, GREEN), (limit.max, ORANGE), (limit.stop, RED))


def rows() -> Rows:
    """The rows of panels."""
    return (
        ("Now", _now()),
        ("Is it moving, will it finish?", _moving()),
        ("Is anybody hurt?", _hurt()),
        ("Is there room, and who did what?", _room()),
    )


def _now() -> list[Panel]:
    remaining = largest(exported(series.TABLE_ROWS_REMAINING), "table")
    at_work = exported(series.STAGE_STATE, 'state=~"running|waiting|failed"')
    return [
        word(
            "Migration",
            "The state of the migration as a whole. `paused` and `cancelled` are the operator's doing: "
            "`tenantry events` says whose.",
            now(largest(exported(series.MIGRATION_STATE), "state"), "{{state}}"),
            colours={"complete": GREEN, "paused": ORANGE, "cancelled": RED, "rolling back": ORANGE},
        ),
        more_in(
            word(
                "Stage",
                "The stage that is under way, waits at its gate, or failed. Between two runs there is none.",
                now(largest(at_work, "stage, state"), "{{stage}}: {{state}}"),
                colours={"waiting": ORANGE, "failed": RED},
                otherwise="none at work",
            ),
            "TenantryStageFailed",
        ),
        figure(
            "Rows per second",
            "Rows of all tables that got their tenant, per second. Zero while a stage without batches is "
            "at work.",
            now(f"sum({rows_per_second()})", "rows/s"),
            unit="rps",
            decimals=0,
        ),
        figure(
            "Backfill done in",
            "Time to the end of the backfill of the tables at work, at the rate so far and without the "
            "time in which it was held; tables that have not begun are not in it.",
            now(largest(exported(series.TABLE_ETA)), "ETA"),
            unit="s",
            decimals=1,
            otherwise="nothing is filled",
        ),
        more_in(
            figure(
                "Last batch done",
                "How long ago a batch was done. It grows in stages that have no batches, and while batches "
                "are held.",
                now(f"time() - {largest(exported(series.LAST_PROGRESS))}", "ago"),
                unit="s",
                decimals=0,
            ),
            "TenantryStalled",
        ),
        figure(
            "Rows to go",
            "Rows that still need their tenant, of all tables whose backfill has begun.",
            now(f"sum({remaining})", "rows"),
            unit="short",
        ),
        word(
            "Why it is slow",
            "The signal that lets no batch go now, as docs/governor.md calls it. *Governor* has its value "
            "and limit.",
            now(largest(exported(series.HELD), "reason"), "{{reason}}"),
            colour=RED,
            width=5,
            otherwise="nothing holds it",
        ),
        more_in(
            word(
                "What it waits for",
                "The facts that keep a stage's gate closed. `tenantry status` has the way out.",
                now(largest(exported(series.GATE_CLOSED), "stage, reason"), "{{stage}}: {{reason}}"),
                colour=ORANGE,
                width=5,
                otherwise="no gate is closed",
            ),
            "TenantryGateClosed",
        ),
        more_in(
            figure(
                "Application waits for",
                "The longest that a session of the application waits for a lock behind one of ours, now. "
                "Orange where the governor halves the pace by itself, red where it lets no batch go.",
                now(largest(exported(series.LOCK_WAIT, 'side="application"')), "waits"),
                unit="s",
                thresholds=_by_default("waited"),
            ),
            "TenantryApplicationWaits",
        ),
        more_in(
            figure(
                "Replica lag",
                "How far the slowest standby is behind, while somebody samples. Orange and red at the "
                "governor's own limit and stop.",
                now(largest(exported(series.REPLICA_LAG_SECONDS)), "lag"),
                unit="s",
                thresholds=_by_default("lag"),
                otherwise="no standby",
            ),
            "TenantryReplicaLag",
        ),
        more_in(
            figure(
                "Quarantine",
                "Rows set aside, for their tenant could not be worked out: `tenantry quarantine` lists them.",
                now(largest(exported(series.QUARANTINE_ROWS)), "rows"),
                unit="short",
                thresholds=NONE_IS_WELL,
                width=3,
            ),
            "TenantryQuarantine",
        ),
        more_in(
            figure(
                "Database answers",
                "Whether the exporter reads the database. Without an exporter nothing here is from now.",
                now(f"min({exported(series.UP)})", "answers"),
                unit="bool_yes_no",
                thresholds=((None, RED), (1, GREEN)),
                width=3,
                otherwise="no exporter",
            ),
            "TenantryExporterDown",
        ),
    ]


def _moving() -> list[Panel]:
    done = largest(exported(series.TABLE_ROWS_UPDATED), "table")
    total = largest(exported(series.TABLE_ROWS), "table")
    codes = {name: code for code, (name, _) in STATES.items()}
    return [
        timeline(
            "Stages",
            "What state each stage was in, from the first to the last.",
            at_all_times(coded(series.STAGE_STATE, "state", codes, "stage"), "{{stage}}"),
            words=STATES,
            order=tuple(dict.fromkeys((*status.STAGES[:-1], *status.SEPARATE_STAGES))),
            height=9,
        ),
        columns(
            "Tables",
            "Every table of the plan whose backfill has begun, the one with most to do first.",
            "table",
            {
                "To go": (largest(exported(series.TABLE_ROWS_REMAINING), "table"), "short"),
                "Done": (f"{done} / {total}", "percentunit"),
                "Rows": (total, "short"),
                "Rows/s": (rows_per_second(), "rps"),
                "Done in": (largest(exported(series.TABLE_ETA), "table"), "s"),
                "Retried": (largest(exported(series.BATCHES_WAITING), "table"), "short"),
            },
            sorted_by="To go",
            bars={"Done": FACT},
            height=6,
        ),
        lines(
            "Rows per second, by table",
            "Rows that got their tenant, per second. The governor takes speed away in *Governor*.",
            at_all_times(rows_per_second(), "{{table}}"),
            unit="rps",
        ),
        lines(
            "Rows to go, by table",
            "Rows that still need their tenant: a straight line down is a steady pace.",
            at_all_times(largest(exported(series.TABLE_ROWS_REMAINING), "table"), "{{table}}"),
            unit="short",
        ),
    ]


def _hurt() -> list[Panel]:
    lag = 'signal="lag"'
    return [
        more_in(
            lines(
                "Longest wait for a lock",
                "Of a session of the application behind one of ours, and of ours for its own lock. Ours "
                "waits at most as long as its lock timeout, and steps back.",
                at_all_times(
                    largest(exported(series.LOCK_WAIT, 'side="application"')), "the application waits"
                ),
                at_all_times(largest(exported(series.LOCK_WAIT, 'side="tenantry"')), "ours waits"),
                unit="s",
                colours={"the application waits": RED, "ours waits": BLUE},
            ),
            "TenantryLockWait",
        ),
        against(
            "Replica lag",
            "The slowest standby against the governor's limit, where the pace is halved, and its stop.",
            value=largest(exported(series.REPLICA_LAG_SECONDS)),
            limit=largest(exported(series.GOVERNOR_LIMIT, lag)),
            stop=largest(exported(series.GOVERNOR_STOP, lag)),
            unit="s",
            width=12,
            height=8,
        ),
        lines(
            "Rows in quarantine, batches to be tried again",
            "Rows set aside without a tenant, and batches that failed and wait for another try.",
            at_all_times(largest(exported(series.QUARANTINE_ROWS)), "rows in quarantine"),
            at_all_times(f"sum({largest(exported(series.BATCHES_WAITING), 'table')})", "batches that wait"),
            unit="short",
            width=6,
            colours={"rows in quarantine": ORANGE, "batches that wait": BLUE},
        ),
        more_in(
            lines(
                "Accesses without a tenant",
                "Accesses to tables under row-level security by sessions that said no tenant, while `rls` "
                "observes: each of them sees nothing once the policies are strict.",
                at_all_times(rate(exported(series.UNSCOPED_ACCESSES), "role"), "{{role}}"),
                unit="ops",
                width=6,
            ),
            "TenantryUnscopedAccess",
        ),
        timeline(
            "Sessions without a tenant",
            "What they see of the tables under row-level security. Once that is no row, each access of "
            "theirs hurts somebody.",
            at_all_times(largest(exported(series.RLS_STRICT)), "they see"),
            words={0: ("rows", BLUE), 1: ("no row", ORANGE)},
            width=6,
        ),
        lines(
            "Writes that the guard gave their tenant",
            "Code that does not know its tenant yet still writes: `keys` should wait until this is zero.",
            at_all_times(rate(exported(series.GUARD_USES), "table"), "{{table}}"),
            unit="wps",
            width=6,
        ),
    ]


def _room() -> list[Panel]:
    budget = {"so far": BLUE, "foretold": GREY}
    return [
        more_in(
            lines(
                "WAL written",
                "WAL of the whole server since the migration began, against what preflight foretold for "
                "the migration.",
                at_all_times(largest(exported(series.WAL_WRITTEN)), "so far"),
                at_all_times(largest(exported(series.WAL_BUDGET)), "foretold"),
                unit="bytes",
                width=8,
                colours=budget,
                dashed=("foretold",),
            ),
            "TenantryWalBudget",
        ),
        more_in(
            lines(
                "Growth of the database",
                "By how much the database has grown, against what preflight foretold.",
                at_all_times(largest(exported(series.DISK_GROWN)), "so far"),
                at_all_times(largest(exported(series.DISK_BUDGET)), "foretold"),
                unit="bytes",
                width=8,
                colours=budget,
                dashed=("foretold",),
            ),
            "TenantryDiskBudget",
        ),
        columns(
            "Last actions",
            "When an operator last did each of these; `tenantry events` has all of it, with who did it.",
            "kind",
            {"When": (f"{largest(exported(series.EVENT, ACTIONS), 'kind')} * 1000", "dateTimeFromNow")},
            sorted_by="When",
            width=8,
        ),
        lines(
            "Messages that the webhook has not got",
            "Those due are sent again and again for a day; those refused or given up never come. "
            "`tenantry events` says which, and what the webhook answered.",
            at_all_times(largest(exported(series.NOTIFICATIONS), "delivery"), "{{delivery}}"),
            unit="short",
            width=24,
            colours={"due": BLUE, "refused": RED, "given up": RED},
        ),
    ]
