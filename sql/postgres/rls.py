"""Row-level security's statements: the forms of a policy, and the count of unscoped access."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from psycopg import sql
from psycopg.rows import class_row

from sql.errors import CatalogError
from sql.named import load
from sql.postgres.catalog import Policy
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "rls")

Mode = Literal["observe", "permissive", "strict"]

SCHEMA = "tenantry_rls"
FUNCTION = "tenantry_rls.unscoped"

#: What the server adds when it writes an expression back: casts, parentheses, quotes, an alias, line ends.
_DEPARSED = re.compile(r"/\*.*?\*/|::text|::character varying|\bAS unscoped\b|[\s()\"]", re.DOTALL)


def expression(mode: Mode, *, column: str, setting: str, legacy: str) -> sql.Composed:
    """The policy's expression in the form of `mode`."""
    named = {"column": sql.Identifier(column), "setting": sql.Literal(setting)}
    match mode:
        case "observe":
            return STATEMENTS.observe.compose(**named)
        case "permissive":
            return STATEMENTS.permissive.compose(**named, legacy=sql.Literal(legacy))
        case "strict":
            return STATEMENTS.strict.compose(**named)


def says(policy: Policy, wanted: sql.Composed) -> bool:
    """Whether a policy in the catalog holds `wanted` for reading and writing, in whatever spelling."""
    text = _bare(wanted.as_string(None))
    return (
        policy.permissive
        and policy.command in {"ALL", "*"}
        and _bare(policy.using or "") == text
        and _bare(policy.check or "") == text
    )


def _bare(expression: str) -> str:
    return _DEPARSED.sub("", expression).casefold()


@dataclass(frozen=True, slots=True)
class Count:
    """Unscoped accesses counted so far; the server's clock; `counting` is false where they can't be counted.

    `counted_by` differs between two counts that can't be compared: a new function, a restarted server,
    reset statistics.
    """

    calls: int
    now: datetime
    counted_by: str
    counting: bool


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions of one role and application."""

    role: str
    application: str
    sessions: int

    def __str__(self) -> str:
        return f"{self.application or 'no application name'} as {self.role} ({self.sessions} sessions)"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A role whose sessions begin with a tenant."""

    role: str
    tenant: str


def unscoped_accesses(connection: Connection) -> Count:
    """Count the accesses by sessions without a tenant; the server reports them up to 10 s late.

    Raises:
        CatalogError: the function that counts isn't there.
    """
    with connection.cursor(row_factory=class_row(Count)) as cursor:
        count = cursor.execute(STATEMENTS.unscoped_accesses.compose()).fetchone()
    if count is None:
        raise CatalogError(
            f"{FUNCTION}() isn't there, which counts unscoped access; `tenantry run` makes it again"
        )
    return count


def sessions(connection: Connection, since: datetime) -> list[Sessions]:
    """The ten commonest kinds of client session that ran something since then, ours left out."""
    with connection.cursor(row_factory=class_row(Sessions)) as cursor:
        return cursor.execute(STATEMENTS.sessions.compose(), {"since": since}).fetchall()


def bridged_roles(connection: Connection, setting: str) -> list[Bridge]:
    """Roles that ALTER ROLE or ALTER DATABASE gave a tenant to begin with."""
    with connection.cursor(row_factory=class_row(Bridge)) as cursor:
        return cursor.execute(STATEMENTS.bridged_roles.compose(), {"setting": setting}).fetchall()
