"""Every fact that preflight looks at in a file, in the order in which they are read."""

from control.preflight.estimate import Estimate
from control.preflight.finding import Finding
from control.sqlite.preflight import (
    ambiguous,
    engine,
    estimate,
    guide,
    integrity,
    room,
    rows,
    schema,
    sources,
    tables,
    traffic,
)
from control.sqlite.stage import Ground


def look(ground: Ground) -> list[Finding]:
    """Look at everything, and change nothing.

    Raises:
        FileBusyError: a writer was in the way for longer than the busy timeout.
    """
    return look_and_estimate(ground)[0]


def look_and_estimate(ground: Ground) -> tuple[list[Finding], list[Estimate]]:
    """Look at everything, and tell what it will cost; nothing of that where a finding stops.

    The rows are counted only where the tables allow it: a column that isn't there would fail every count.

    Raises:
        FileBusyError: a writer was in the way for longer than the busy timeout.
    """
    findings = [
        *engine.look(ground),
        *traffic.look(ground),
        *integrity.look(ground),
        *schema.look(ground),
        *tables.look(ground),
    ]
    if any(finding.level == "stop" for finding in findings):
        skipped = "not counted: the stops above come first"
        findings.append(Finding("warn", "rows", skipped, "mend them, then `tenantry check` again"))
        return [*findings, guide.look_at_backup(ground)], []
    sizes = estimate.sizes(ground)
    costs = estimate.estimates(ground, sizes)
    return [
        *findings,
        *sources.indexes(ground, sizes),
        *ambiguous.look(ground),
        *rows.look(ground),
        *estimate.look(ground, sizes, costs),
        *room.look(ground, costs),
        *guide.look(ground, sizes),
    ], costs
