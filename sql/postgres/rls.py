"""Row-level security's statements: the forms of a policy, and the count of unscoped access."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from psycopg import sql
from psycopg.rows import class_row

from sql.errors import CatalogError
from sql.named import load
from sql.postgres.connection import Connection
from sql.postgres.facts import Policy

STATEMENTS = load(Path(__file__).parent, "rls")

Mode = Literal["observe", "permissive", "strict"]

SCHEMA = "tenantry_rls"
FUNCTION = "tenantry_rls.unscoped"

#: What the catalog calls everybody.
PUBLIC = "public"

#: What the server adds when it writes an expression back: casts, parentheses, an alias, line ends.
_DEPARSED = re.compile(r"/\*.*?\*/|::text|::character varying|\bAS un(?:scoped|seen)\b|[\s()]", re.DOTALL)
#: Within names and literals every character counts. Ours is E'' around a backslash, the server's isn't.
_WHOLE = re.compile(
    r"""(?P<name>"(?:""|[^"])*")|(?P<escaped>\bE'(?:''|\\.|[^'\\])*')|(?P<plain>'(?:''|[^'])*')""", re.DOTALL
)


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


def roles(named: Sequence[str]) -> sql.Composable:
    """Whom a policy holds, for its TO: these roles, or everybody."""
    if not named:
        return sql.SQL("PUBLIC")
    return sql.SQL(", ").join(map(sql.Identifier, named))


def says(policy: Policy, wanted: sql.Composed, *, roles: Sequence[str], permissive: bool) -> bool:
    """Whether a policy in the catalog holds `wanted` for reading and writing, in whatever spelling.

    And for these roles (none for everybody), as one that admits rows or as one that only narrows.
    """
    text = _bare(wanted.as_string(None))
    return (
        policy.permissive == permissive
        and set(policy.roles) == set(roles or (PUBLIC,))
        and policy.command == "ALL"
        and _bare(policy.using or "") == text
        and _bare(policy.check or "") == text
    )


def _bare(expression: str) -> str:
    bare, at = "", 0
    for whole in _WHOLE.finditer(expression):
        bare += _DEPARSED.sub("", expression[at : whole.start()]).casefold()
        if whole["name"]:
            bare += whole["name"][1:-1]
        else:
            bare += whole["plain"] or whole["escaped"][1:].replace("\\\\", "\\")
        at = whole.end()
    return bare + _DEPARSED.sub("", expression[at:]).casefold()


@dataclass(frozen=True, slots=True)
class Count:
    """Unscoped accesses counted so far; the server's clock; `counting` is false where they can't be counted.

    `counted_by` differs between two counts that can't be compared: a new function, a restarted or crashed
    server, reset statistics.
    """

    calls: int
    now: datetime
    counted_by: str
    counting: bool


@dataclass(frozen=True, slots=True)
class RoleCount:
    """Unscoped accesses of one role; `oid` is 0 for all roles that were made since counting began."""

    role: str
    oid: int
    calls: int


@dataclass(frozen=True, slots=True)
class Bridge:
    """A role whose sessions begin with a tenant."""

    role: str
    tenant: str


def called(connection: Connection) -> bool:
    """Whether a policy still calls one of the functions that count."""
    row = connection.execute(STATEMENTS.called.compose()).fetchone()
    return row is not None and bool(row[0])


def unseeing(connection: Connection) -> bool:
    """Whether a policy of this database is strict: it counts whom it shows nothing."""
    row = connection.execute(STATEMENTS.unseeing.compose()).fetchone()
    return row is not None and bool(row[0])


def count(connection: Connection) -> Count | None:
    """Count the accesses by sessions without a tenant, told up to 10 s late; None where nothing counts."""
    with connection.cursor(row_factory=class_row(Count)) as cursor:
        return cursor.execute(STATEMENTS.unscoped_accesses.compose()).fetchone()


def unscoped_accesses(connection: Connection) -> Count:
    """The same where it must be counted.

    Raises:
        CatalogError: the function that counts isn't there.
    """
    found = count(connection)
    if found is None:
        raise CatalogError(
            f"{FUNCTION}() isn't there, which counts unscoped access; `tenantry run` makes it again"
        )
    return found


def unscoped_roles(connection: Connection) -> list[RoleCount]:
    """The same count by role; those that were never counted are not in it."""
    with connection.cursor(row_factory=class_row(RoleCount)) as cursor:
        return cursor.execute(STATEMENTS.unscoped_roles.compose()).fetchall()


def applications(connection: Connection, roles: Sequence[int], since: datetime) -> dict[int, list[str]]:
    """By role (oid), what its client sessions that ran something since then call themselves; not ours."""
    found: dict[int, list[str]] = {}
    given = {"roles": list(roles), "since": since}
    for role, application in connection.execute(STATEMENTS.applications.compose(), given):
        found.setdefault(role, []).append(application)
    return found


def unreported(connection: Connection, tables: Sequence[int], since: datetime) -> list[str]:
    """Sessions in a transaction older than that which has been at one of the tables (oids)."""
    given = {"tables": list(tables), "since": since}
    return [told for (told,) in connection.execute(STATEMENTS.unreported.compose(), given)]


def bridged_roles(connection: Connection, setting: str) -> list[Bridge]:
    """Roles that ALTER ROLE or ALTER DATABASE gave a tenant to begin with."""
    with connection.cursor(row_factory=class_row(Bridge)) as cursor:
        return cursor.execute(STATEMENTS.bridged_roles.compose(), {"setting": setting}).fetchall()


def missing_roles(connection: Connection, named: Sequence[str]) -> list[str]:
    """Those of the roles that aren't there."""
    given = {"roles": list(named)}
    return [role for (role,) in connection.execute(STATEMENTS.missing_roles.compose(), given)]


def roles_not_held(connection: Connection, table: int, named: Sequence[str]) -> list[str]:
    """Roles that log in, may use the table (oid), and would not be held by a policy for the named ones."""
    given = {"roles": list(named), "table": table}
    return [role for (role,) in connection.execute(STATEMENTS.roles_not_held.compose(), given)]


def truncating_roles(connection: Connection, table: int) -> list[str]:
    """Who but its owner may TRUNCATE the table (oid)."""
    return [role for (role,) in connection.execute(STATEMENTS.truncating_roles.compose(), {"table": table})]
