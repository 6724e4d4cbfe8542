"""Isolation, tried: one tenant's rows in the hands of another, as a role that bypasses nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import psycopg
from psycopg import sql

from control.plan.model import RowSecurity
from control.stages.rls import has_form
from control.verification.check import Check, Subject, listed
from sql.postgres import verify
from sql.postgres.catalog import Catalog
from sql.postgres.verify import STATEMENTS, Nobody, Outcome, Row

Command = Literal["SELECT", "INSERT", "UPDATE", "DELETE", "upsert"]
COMMANDS: tuple[Command, ...] = ("SELECT", "INSERT", "UPDATE", "DELETE", "upsert")

#: Who tries where the table has one tenant only; nobody's name, and no pattern's.
STRANGER = "tenantry: a tenant that nobody is"
#: Up to so many tenants, every one of them is asked what it sees; beyond, the sample.
ALL = 100


@dataclass(frozen=True, slots=True)
class _Try:
    """A statement as a tenant, and what must come of it: so many rows, or a refusal (None)."""

    command: Command
    tenant: str
    statement: sql.Composed
    expected: int | None
    what: str
    parameters: dict[str, str] = field(default_factory=dict)
    before: sql.Composed | None = None

    def complaint(self, outcome: Outcome) -> str | None:
        wanted = Outcome(refused=True) if self.expected is None else Outcome(rows=self.expected)
        return None if outcome == wanted else f"{self.what}: {outcome} instead of {wanted}"


def _tries(subject: Subject, own: str, other: str) -> Iterator[_Try]:
    table, column = subject.found.identifier, sql.Identifier(subject.column)
    columns = verify.writable(subject.found)
    sees = STATEMENTS.sees_row.compose(table=table)
    insert = STATEMENTS.insert_row.compose(table=table, columns=columns)
    update = STATEMENTS.update_row.compose(table=table, column=column)
    delete = STATEMENTS.delete_row.compose(table=table)
    yield _Try("SELECT", other, sees, 0, f"{other} reads a row of {own}")
    yield _Try(
        "SELECT",
        other,
        STATEMENTS.sees_others.compose(table=table, column=column),
        0,
        f"{other} reads any row of another",
        {"tenant": other},
    )
    yield _Try("SELECT", own, sees, 1, f"{own} reads its row")
    yield _Try("INSERT", other, insert, None, f"{other} inserts a row for {own}")
    yield _Try("INSERT", own, insert, 1, f"{own} inserts its row", before=delete)
    yield _Try("UPDATE", other, update, 0, f"{other} updates a row of {own}")
    yield _Try("UPDATE", own, update, 1, f"{own} updates its row")
    move = STATEMENTS.move_row.compose(table=table, column=column)
    yield _Try("UPDATE", own, move, None, f"{own} gives its row to {other}", {"tenant": other})
    yield _Try("DELETE", other, delete, 0, f"{other} deletes a row of {own}")
    yield _Try("DELETE", own, delete, 1, f"{own} deletes its row")
    key = subject.found.primary_key
    if key is not None:
        upsert = STATEMENTS.upsert_row.compose(
            table=table,
            column=column,
            columns=columns,
            key=sql.SQL(", ").join(sql.Identifier(name) for name in key.columns),
        )
        yield _Try("upsert", other, upsert, None, f"{other} upserts a row of {own}")
        yield _Try("upsert", own, upsert, 1, f"{own} upserts its row")


def _pairs(sample: list[str]) -> list[tuple[str, str]]:
    """Each tenant with another one that tries its hands on its rows."""
    if len(sample) == 1:
        return [(sample[0], STRANGER)]
    return list(zip(sample, [*sample[1:], sample[0]], strict=True))


def commands(subject: Subject) -> list[Check]:
    """Isolation for SELECT, INSERT, UPDATE, DELETE and upsert, each its own check."""
    names = {command: f"{subject.name}: {command} stays within the tenant" for command in COMMANDS}
    complaints: dict[Command, list[str]] = {command: [] for command in COMMANDS}
    tried: dict[Command, int] = dict.fromkeys(COMMANDS, 0)
    if not subject.tenants.sample:
        return [Check(name, None, "no tenant has a row here", "verify.tenants") for name in names.values()]
    for own, other in _pairs(subject.tenants.sample):
        with verify.nobody(subject.connection, subject.plan.tenant.setting) as session:
            verify.quiet_triggers(subject.connection)
            row = verify.one_row(subject.connection, subject.found.identifier, subject.column, own)
            if row is None:
                continue
            for attempt in _tries(subject, own, other):
                complaint = attempt.complaint(_run(session, attempt, row))
                tried[attempt.command] += 1
                complaints[attempt.command] += [complaint] if complaint else []
    for command in ("UPDATE", "DELETE"):
        complaints[command] += _widened(subject, command)
    return [
        Check(
            names[command],
            not complaints[command] if tried[command] else None,
            listed(complaints[command]) or _evidence(subject, command, tried[command]),
            {"SELECT": "verify.sees_others", "upsert": "verify.upsert_row"}.get(
                command, f"verify.{command.lower()}_row"
            ),
        )
        for command in COMMANDS
    ]


def _run(session: Nobody, attempt: _Try, row: Row) -> Outcome:
    given = {"place": row.place, "row": row.row, **attempt.parameters}
    return session.attempt(attempt.tenant, attempt.statement, given, before=attempt.before)


def _evidence(subject: Subject, command: Command, tried: int) -> str:
    if tried:
        return f"{tried} tries as {subject.tried()}, each with its own rows and another's"
    if command == "upsert" and subject.found.primary_key is None:
        return "no primary key to conflict with: not tried"
    return "every row was held by other sessions: not tried"


def _widened(subject: Subject, command: Command) -> list[str]:
    """Other policies for everybody that let an UPDATE or DELETE without WHERE through.

    Such a statement reads nothing, so no SELECT policy narrows it; trying it would change every row.
    """
    ours = subject.table.rls.policy if subject.table.rls is not None else None
    return [
        f"policy {policy.name} lets everybody {command} more"
        for policy in subject.found.policies
        if policy.permissive
        and policy.name != ours
        and policy.command == command
        and "public" in policy.roles
    ]


def unscoped(subject: Subject, security: RowSecurity) -> Check:
    """What a session without a tenant sees and may write, by the mode of the plan."""
    mode, legacy = security.mode, subject.plan.tenant.legacy
    name = f"{subject.name}: a session without a tenant is {mode}"
    if not subject.tenants.sample:
        return Check(name, None, "no tenant has a row here", "verify.tenants")
    table, column = subject.found.identifier, sql.Identifier(subject.column)
    someone = next((tenant for tenant in subject.tenants.sample if tenant != legacy), None)
    anything = STATEMENTS.sees_anything.compose(table=table)
    others = STATEMENTS.sees_others.compose(table=table, column=column)
    insert = STATEMENTS.insert_row.compose(table=table, columns=verify.writable(subject.found))
    tries: list[_Try] = []
    match mode:
        case "observe":
            tries.append(_Try("SELECT", "", anything, 1, "it reads"))
        case "permissive":
            tries.append(_Try("SELECT", "", others, 0, f"it reads past {legacy}", {"tenant": legacy}))
            if legacy in subject.tenants.sample:
                tries.append(_Try("SELECT", "", anything, 1, f"it reads as {legacy}"))
        case "strict":
            tries.append(_Try("SELECT", "", anything, 0, "it reads"))
    with verify.nobody(subject.connection, subject.plan.tenant.setting) as session:
        verify.quiet_triggers(subject.connection)
        row = (
            verify.one_row(subject.connection, table, subject.column, someone)
            if someone is not None
            else None
        )
        if row is not None and mode != "observe":
            tries.append(_Try("INSERT", "", insert, None, f"it inserts a row for {someone}"))
        given = row or Row("(0,0)", "")
        complaints = [c for t in tries if (c := t.complaint(_run(session, t, given))) is not None]
    told = {"observe": "reads every row, and is counted", "permissive": f"reads {legacy} only"}
    evidence = listed(complaints) or told.get(mode, "reads nothing, and writes nothing")
    return Check(name, not complaints, evidence, "verify.sees_anything")


def counts(subject: Subject) -> Check:
    """Whether each tenant sees exactly the rows that it has, and all of them together the whole table."""
    name = f"{subject.name}: each tenant sees exactly its own rows"
    table, column = subject.found.identifier, subject.column
    everybody = subject.tenants.tenants <= ALL
    with verify.snapshot(subject.connection):
        wanted = (
            verify.all_tenants(subject.connection, table, column)
            if everybody
            else list(subject.tenants.sample)
        )
        wanted = [tenant for tenant in wanted if tenant not in ("", subject.plan.tenant.sentinel_value)]
        real = verify.rows_of(subject.connection, table, column, wanted)
        with verify.nobody(subject.connection, subject.plan.tenant.setting) as session:
            statement = STATEMENTS.sees_count.compose(table=table)
            seen = {tenant: int(session.value(tenant, statement)) for tenant in wanted}
    wrong = [
        f"{tenant} has {real[tenant]} rows and sees {seen[tenant]}"
        for tenant in wanted
        if real[tenant] != seen[tenant]
    ]
    who = "all" if everybody else "the sampled"
    evidence = f"{who} {len(wanted)} tenants see {sum(seen.values())} rows, and have {sum(real.values())}"
    return Check(name, not wrong, listed(wrong) or evidence, "verify.sees_count")


def policy(subject: Subject, security: RowSecurity, live: Catalog) -> Check:
    """Whether row-level security is on, for the owner too, and the policy has the form of the mode."""
    found = subject.found
    facts = [
        *([] if found.row_security else ["row-level security is off"]),
        *([] if found.forced else ["it doesn't hold for the table's owner (no FORCE)"]),
        *(
            []
            if has_form(subject.plan, live, subject.name, security.policy, security.mode)
            else [f"policy {security.policy} isn't there in the form {security.mode}"]
        ),
    ]
    others = [p.name for p in found.policies if p.name != security.policy]
    evidence = f"policy {security.policy} is {security.mode}, on and forced"
    if others:
        evidence += f"; there are others: {', '.join(others)}"
    return Check(
        f"{subject.name}: row-level security holds", not facts, listed(facts) or evidence, "catalog.tables"
    )


def isolation(subject: Subject, security: RowSecurity, live: Catalog) -> list[Check]:
    """Every check of isolation of one table; one that says so where no role could be made for them."""
    holds = policy(subject, security, live)
    try:
        return [holds, *commands(subject), unscoped(subject, security), counts(subject)]
    except psycopg.errors.InsufficientPrivilege as error:
        return [
            holds,
            Check(
                f"{subject.name}: isolation",
                ok=False,
                evidence=f"can't be tried: {error.diag.message_primary}; run `tenantry verify` as a role "
                "that may make roles and grant pg_read_all_data and pg_write_all_data",
                query="verify.role",
            ),
        ]
