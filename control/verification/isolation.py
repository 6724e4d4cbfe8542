"""Isolation, tried: one tenant's rows in the hands of another, as a role that bypasses nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from psycopg import sql

from control.plan.sections import RowSecurity
from control.policies import has_form, of_table
from control.verification.check import Check, Subject, listed
from sql.postgres import verify
from sql.postgres.facts import Catalog
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
    or_nothing: bool = False
    """Whether no row at all is as good as a refusal: an older policy may hide the row before ours refuses."""

    def complaint(self, outcome: Outcome) -> str | None:
        if self.or_nothing and outcome == Outcome(rows=0):
            return None
        wanted = Outcome(refused=True) if self.expected is None else Outcome(rows=self.expected)
        return None if outcome == wanted else f"{self.what}: {outcome} instead of {wanted}"


def _tries(subject: Subject, security: RowSecurity, own: str, other: str) -> Iterator[_Try]:
    table, column = subject.found.identifier, sql.Identifier(subject.column)
    columns = verify.writable(subject.found)
    sees = STATEMENTS.sees_row.beside_parameters(table=table)
    insert = STATEMENTS.insert_row.beside_parameters(table=table, columns=columns)
    update = STATEMENTS.update_row.beside_parameters(table=table, column=column)
    delete = STATEMENTS.delete_row.beside_parameters(table=table)
    yield _Try("SELECT", other, sees, 0, f"{other} reads a row of {own}")
    yield _Try(
        "SELECT",
        other,
        STATEMENTS.sees_others.beside_parameters(table=table, column=column),
        0,
        f"{other} reads any row of another",
        {"tenant": other},
    )
    yield _Try("SELECT", own, sees, 1, f"{own} reads its row")
    yield _Try("INSERT", other, insert, None, f"{other} inserts a row for {own}")
    if security.mode != "observe" and own != subject.plan.tenant.legacy:
        yield _Try("INSERT", "", insert, None, f"a session without a tenant inserts a row for {own}")
    yield _Try("INSERT", own, insert, 1, f"{own} inserts its row", before=delete)
    yield _Try("UPDATE", other, update, 0, f"{other} updates a row of {own}")
    yield _Try("UPDATE", own, update, 1, f"{own} updates its row")
    move = STATEMENTS.move_row.beside_parameters(table=table, column=column)
    yield _Try("UPDATE", own, move, None, f"{own} gives its row to {other}", {"tenant": other})
    yield _Try("DELETE", other, delete, 0, f"{other} deletes a row of {own}")
    yield _Try("DELETE", own, delete, 1, f"{own} deletes its row")
    key = subject.found.primary_key
    if key is not None:
        upsert = STATEMENTS.upsert_row.beside_parameters(
            table=table,
            column=column,
            columns=columns,
            key=sql.SQL(", ").join(sql.Identifier(name) for name in key.columns),
        )
        yield _Try("upsert", other, upsert, None, f"{other} upserts a row of {own}")
        yield _Try("upsert", own, upsert, 1, f"{own} upserts its row")


def _must_hold(tries: Iterator[_Try], subject: Subject) -> list[_Try]:
    """Beside policies that were there before, only what is refused is ours to know: they may refuse more."""
    if not subject.original.row_security:
        return list(tries)
    return [replace(one, or_nothing=one.expected is None) for one in tries if not one.expected]


def _pairs(sample: list[str]) -> list[tuple[str, str]]:
    """Each tenant with another one that tries its hands on its rows."""
    if len(sample) == 1:
        return [(sample[0], STRANGER)]
    return list(zip(sample, [*sample[1:], sample[0]], strict=True))


def commands(subject: Subject, security: RowSecurity) -> list[Check]:
    """Isolation for SELECT, INSERT, UPDATE, DELETE and upsert, each its own check."""
    names = {command: f"{subject.name}: {command} stays within the tenant" for command in COMMANDS}
    complaints: dict[Command, list[str]] = {command: [] for command in COMMANDS}
    tried: dict[Command, int] = dict.fromkeys(COMMANDS, 0)
    if not subject.tenants.sample:
        return [Check(name, None, "no tenant has a row here", "verify.tenants") for name in names.values()]
    for own, other in _pairs(subject.tenants.sample):
        with subject.nobody() as session:
            verify.quiet_triggers(subject.connection)
            row = verify.one_row(subject.connection, subject.found.identifier, subject.column, own)
            if row is None:
                continue
            for attempt in _must_hold(_tries(subject, security, own, other), subject):
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
    if subject.original.row_security:
        return []  # ours is restrictive there: it narrows whatever they let through
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
    """What a session without a tenant sees, by the mode of the plan."""
    mode, legacy = security.mode, subject.plan.tenant.legacy
    name = f"{subject.name}: a session without a tenant is {mode}"
    if not subject.tenants.sample:
        return Check(name, None, "no tenant has a row here", "verify.tenants")
    table, column = subject.found.identifier, sql.Identifier(subject.column)
    anything = STATEMENTS.sees_anything.beside_parameters(table=table)
    others = STATEMENTS.sees_others.beside_parameters(table=table, column=column)
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
    with subject.nobody() as session:
        held = _must_hold(iter(tries), subject)
        outcomes = [(t, session.attempt("", t.statement, t.parameters)) for t in held]
    complaints = [complaint for t, outcome in outcomes if (complaint := t.complaint(outcome)) is not None]
    told = {"observe": "reads every row, and is counted", "permissive": f"reads {legacy} only"}
    evidence = listed(complaints) or told.get(mode, "reads nothing")
    return Check(name, not complaints, evidence, "verify.sees_anything")


def counts(subject: Subject) -> Check:
    """Whether each tenant reaches every row that it has, and all of them together the whole table."""
    name = f"{subject.name}: each tenant reaches all of its rows"
    if subject.original.row_security:
        return Check(name, None, "older policies decide that with ours: not counted", "verify.count")
    table, column = subject.found.identifier, subject.column
    everybody = subject.tenants.tenants <= ALL
    with verify.snapshot(subject.connection):
        wanted = list(subject.tenants.sample)
        if everybody:
            wanted = verify.all_tenants(subject.connection, table, column)
        wanted = [tenant for tenant in wanted if tenant not in ("", subject.plan.tenant.sentinel_value)]
        real = verify.rows_of(subject.connection, table, column, wanted)
        seen: dict[str, int] = {}
        with subject.nobody() as session:
            for tenant in wanted:
                statement = verify.count_where(STATEMENTS.count, table, column, tenant)
                seen[tenant] = session.value(tenant, statement)
    wrong = [f"{t} has {real[t]} rows and reaches {seen[t]}" for t in wanted if real[t] != seen[t]]
    who = "all" if everybody else "the sampled"
    of = "" if everybody else f" of {subject.tenants.tenants}"
    evidence = (
        f"{who} {len(wanted)}{of} tenants reach {sum(seen.values())} of their {sum(real.values())} rows"
    )
    legacy = subject.table.constant or subject.plan.tenant.legacy
    if legacy in seen:
        evidence += f"; {legacy}, whose the old data is, {seen[legacy]} of {real[legacy]}"
    return Check(name, not wrong, listed(wrong) or evidence, "verify.count")


def policy(subject: Subject, security: RowSecurity, live: Catalog) -> Check:
    """Whether row-level security is on, for the owner too, and the policy has the form of the mode."""
    found = subject.found
    facts: list[str] = []
    for target in of_table(subject.name, security, subject.original):
        now = target.find(live)
        where = f" on {target.table.identifier.as_string()}" if target.part_of is not None else ""
        facts += [] if now is None or now.row_security else [f"row-level security is off{where}"]
        if now is not None and not now.forced:
            facts.append(f"it doesn't hold for the owner{where} (no FORCE)")
        if not has_form(subject.plan, live, target, security.mode):
            facts.append(f"policy {security.policy} isn't there in the form {security.mode}{where}")
    others = [p.name for p in found.policies if p.name != security.policy]
    evidence = f"policy {security.policy} is {security.mode}, on and forced"
    if others:
        evidence += f"; there are others: {', '.join(others)}"
    return Check(
        f"{subject.name}: row-level security holds", not facts, listed(facts) or evidence, "catalog.tables"
    )


def isolation(subject: Subject, security: RowSecurity) -> list[Check]:
    """Every check of isolation of one table that is tried."""
    return [
        *commands(subject, security),
        unscoped(subject, security),
        counts(subject),
    ]
