"""What takes the place of row-level security: a tenant's own view of a table, and who reads round it."""

from collections.abc import Iterator, Sequence

from control.sqlite.verification.rows import Check, Subject
from control.verification import check
from control.verification.check import listed
from control.verification.rows import SOME, named_tenants
from sql.sqlite import verify
from sql.sqlite.facts import Catalog
from sql.sqlite.names import folded
from sql.sqlite.words import words


def sample(subject: Subject) -> list[str]:
    """The largest tenants, the smallest, some between, and those that the plan names."""
    every = subject.tenants
    between = every[len(every) // 3 :: max(1, len(every) // 3)][:SOME]
    named = [name for name in named_tenants(subject.plan) if name in subject.rows]
    return list(dict.fromkeys([*every[:SOME], *between, *every[-SOME:], *named]))


def views(subject: Subject) -> check.Check:
    """A tenant's view, as docs/sqlite.md makes it, shows the rows that are its own and no other's."""
    name = f"{subject.name}: a tenant's view shows its rows alone"
    tried, faults = sample(subject), []
    if not tried:
        return Check(name, None, "no tenant has a row here", "verify.tenants")
    with verify.through_view(subject.ground.connection, subject.found, subject.column) as seen:
        for tenant in tried:
            rows, others = seen.by(tenant)
            if others or rows != subject.rows[tenant]:
                faults.append(f"{tenant} sees {rows}, {others} of others, and has {subject.rows[tenant]}")
    told = listed(faults) or f"tried with {len(tried)} of {len(subject.tenants)} tenants"
    return Check(name, not faults, told, "verify.view")


def ways_round(live: Catalog, subjects: Sequence[Subject]) -> Iterator[check.Check]:
    """Views and triggers that speak of a tenant table and never of its tenant: told, for some are meant."""
    for subject in subjects:
        found = [
            f"{kind} {name}"
            for kind, name, text in _spoken(live)
            if (said := _named(text)) and folded(subject.found.name) in said
            if folded(subject.column) not in said
        ]
        told = listed(found, 10) or "no view or trigger leaves the tenant out"
        yield Check(f"{subject.name}: views and triggers without a tenant", None, told, "catalog.objects")


def _spoken(live: Catalog) -> Iterator[tuple[str, str, str]]:
    for view in live.views.values():
        yield "view", view.name, view.sql
        yield from (("trigger", one.name, one.sql) for one in view.triggers)
    for table in live.tables.values():
        # Whose trigger it is is named before ON, and is no table that it reads or writes.
        yield from (("trigger", one.name, _body(one.sql)) for one in table.triggers)


def _body(statement: str) -> str:
    text = [word.text for word in words(statement)]
    begun = next((at for at, word in enumerate(text) if folded(word) == "begin"), 0)
    return "".join(text[begun:])


def _named(statement: str) -> set[str]:
    return {folded(word.named) for word in words(statement) if word.kind in {"word", "name"}}
