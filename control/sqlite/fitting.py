"""What of a plan is not for a SQLite file, said with its line before anything is touched."""

from control.plan.model import Plan
from sql.sqlite.pattern import fits


def check(plan: Plan) -> None:
    """Nothing, where the plan fits a file.

    Raises:
        PlanError: it asks for something that SQLite doesn't have.
    """
    if plan.separates:
        raise plan.wrong(
            "a SQLite file has no schemas to separate tenants by; leave isolation out, or give each tenant a "
            "file of its own",
            "tenant",
            "isolation",
        )
    if plan.database.standbys:
        raise plan.wrong("a SQLite file has no standbys; leave them out", "database", "standbys")
    if plan.redis is not None:
        raise plan.wrong("a SQLite file needs no queue server; leave [redis] out", "redis")
    if plan.backup is not None and plan.backup.jobs > 1:
        raise plan.wrong("the backup of a SQLite file is one file; leave jobs out", "backup", "jobs")
    if fits("t", plan.tenant.pattern) is None and any(table.constant is None for table in plan.tables):
        raise plan.wrong(
            f"SQLite has no regular expressions, and {plan.tenant.pattern!r} can't be said without: give one "
            "class of characters and how many, such as ^[A-Za-z0-9_-]{1,255}$ or ^.+$, or derive no tenants",
            "tenant",
            "pattern",
        )
    for at, table in enumerate(plan.tables):
        if table.rls is not None:
            raise plan.wrong(
                f"SQLite has no row-level security: leave rls of {table.name} out; docs/sqlite.md says what "
                "takes its place",
                "tables",
                at,
                "rls",
            )
        if plan.holds_triggers(table):
            raise plan.wrong(
                f"SQLite can't hold triggers of {table.name} off for one session; leave user_triggers out",
                *(("tables", at, "user_triggers") if table.user_triggers else ("backfill", "user_triggers")),
            )
