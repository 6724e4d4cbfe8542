"""Every fact that preflight looks at, in the order in which they are read."""

from control.preflight import (
    ambiguous,
    application,
    bypasses,
    estimate,
    guide,
    listeners,
    room,
    rows,
    schemas,
    server,
    tables,
    transport,
    webhook,
)
from control.preflight.estimate import Estimate
from control.preflight.finding import Finding
from control.stage import Ground
from sql.postgres import schemas as tenants_schemas


def look(ground: Ground) -> list[Finding]:
    """Look at everything, and change nothing.

    Raises:
        psycopg.Error: the server can't answer.
    """
    return look_and_estimate(ground)[0]


def look_and_estimate(ground: Ground) -> tuple[list[Finding], list[Estimate]]:
    """Look at everything, and tell what it will cost; nothing of that where a finding stops.

    The rows are counted only where the tables allow it: a column that isn't there would fail every count.

    Raises:
        psycopg.Error: the server can't answer.
    """
    if ground.plan.separates and tenants_schemas.switched(ground.connection):
        fact = "the shared tables are out of the way; `tenantry verify` looks at what each tenant has"
        return [*server.look(ground), Finding("pass", "tables", fact)], []
    findings = [
        *server.look(ground),
        *listeners.look(ground),
        *transport.look(ground),
        *tables.look(ground),
        *bypasses.look(ground),
        *application.look(ground),
        *schemas.look(ground),
        *webhook.look(ground.plan),
    ]
    if any(finding.level == "stop" for finding in findings):
        skipped = "not counted: the stops above come first"
        findings.append(
            Finding("warn", "rows", skipped, "mend them, then `tenantry check` again"),
        )
        return [*findings, guide.look_at_backup(ground)], []
    costs = estimate.estimates(ground)
    return [
        *findings,
        *ambiguous.look(ground),
        *rows.look(ground),
        *estimate.look(ground, costs),
        *room.look(ground, costs),
        *guide.look(ground, costs),
    ], costs
