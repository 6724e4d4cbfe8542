"""Every fact that preflight looks at, in the order in which they are read."""

from control.preflight import estimate, rows, server, tables
from control.preflight.finding import Finding
from control.stage import Ground


def look(ground: Ground) -> list[Finding]:
    """Look at everything, and change nothing.

    The rows are counted only where the tables allow it: a column that isn't there would fail every count.

    Raises:
        psycopg.Error: the server can't answer.
    """
    findings = [*server.look(ground), *tables.look(ground)]
    if any(finding.level == "stop" for finding in findings):
        skipped = "not counted: the stops above come first"
        return [*findings, Finding("warn", "rows", skipped, "mend them, then `tenantry check` again")]
    return [*findings, *rows.look(ground), *estimate.look(ground.plan, ground.original)]
