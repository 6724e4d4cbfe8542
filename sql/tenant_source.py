"""Whose row is it: the four sources of a row's tenant, and names as the plan writes them.

What a source is as SQL, `sql.postgres.source` says.
"""

from collections.abc import Iterator
from typing import Annotated

from psycopg import sql
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag


def source_kind(given: object) -> str | None:
    """Tell which of the four a source is, by the one of their keys that it has."""
    if isinstance(given, dict):
        kinds = [kind for kind in SOURCES if kind in given]
        return kinds[0] if len(kinds) == 1 else None
    return next((kind for kind, source in SOURCES.items() if isinstance(given, source)), None)


def _otherwise_kind(given: object) -> str | None:
    return "text" if isinstance(given, str) else source_kind(given)


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Constant(_Source):
    """Every row belongs to one tenant."""

    constant: str


class Expression(_Source):
    """The operator's own SQL over the row's columns: the one place where the plan holds SQL."""

    expression: str
    otherwise: "Otherwise | None" = None


class Lookup(_Source):
    """A table that names the tenant: `on` maps columns of the row to columns of `lookup`."""

    lookup: str
    on: dict[str, str] = Field(min_length=1)
    column: str
    otherwise: "Otherwise | None" = None


class Parent(_Source):
    """The tenant of another table of the plan: `on` maps columns of the row to columns of `parent`.

    A table that is its own parent is a tree: a row belongs to whom the row above it belongs to, and one with
    none above it to whom `otherwise` says.
    """

    parent: str
    on: dict[str, str] = Field(min_length=1)
    otherwise: "Otherwise | None" = None


TenantSource = Constant | Expression | Lookup | Parent

#: The four sources of a tenant, by the key that only this one has.
SOURCES: dict[str, type[BaseModel]] = {
    "constant": Constant,
    "expression": Expression,
    "lookup": Lookup,
    "parent": Parent,
}

_ONE_OF = "exactly one of " + ", ".join(SOURCES)

#: One of the four. By its key, because a plain union would answer a misspelling with four complaints.
Source = Annotated[
    Annotated[Constant, Tag("constant")]
    | Annotated[Expression, Tag("expression")]
    | Annotated[Lookup, Tag("lookup")]
    | Annotated[Parent, Tag("parent")],
    Discriminator(
        source_kind,
        custom_error_type="tenant_source",
        custom_error_message=f"a table takes its tenant from {_ONE_OF}",
    ),
]

#: Whose a row is that the source says nothing of: a tenant, or another source that is asked then.
Otherwise = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[Constant, Tag("constant")]
    | Annotated[Expression, Tag("expression")]
    | Annotated[Lookup, Tag("lookup")]
    | Annotated[Parent, Tag("parent")],
    Discriminator(
        _otherwise_kind,
        custom_error_type="tenant_source",
        custom_error_message=f"otherwise is a tenant, or {_ONE_OF}",
    ),
]

for _source in (Expression, Lookup, Parent):
    _source.model_rebuild()


def with_last_resort(source: TenantSource, tenant: str) -> TenantSource:
    """Give a source that may tell nothing a tenant in its stead, at the end of its chain."""
    if isinstance(source, Constant) or isinstance(source.otherwise, str):
        return source
    if source.otherwise is None:
        return source.model_copy(update={"otherwise": tenant})
    return source.model_copy(update={"otherwise": with_last_resort(source.otherwise, tenant)})


def chain(source: TenantSource) -> Iterator[TenantSource]:
    """List a source and those that are asked after it, in the order in which they are."""
    following: TenantSource | str | None = source
    while following is not None and not isinstance(following, str):
        yield following
        following = None if isinstance(following, Constant) else following.otherwise


def last_resort(source: TenantSource) -> str | None:
    """Tell whose a row is in the end that no source of the chain says anything of."""
    *_, last = chain(source)
    if isinstance(last, Constant):
        return last.constant
    return last.otherwise if isinstance(last.otherwise, str) else None


def qualified(name: str) -> sql.Identifier:
    """`schema.table` or `table` as a quoted identifier; a dot inside quotes belongs to the name."""
    return sql.Identifier(*split_name(name))


def split_name(name: str) -> tuple[str, ...]:
    """Cut `schema.table`, `"Odd.Schema".table` or `table` into its parts.

    Raises:
        ValueError: an open quote, an empty part, or more than two parts.
    """
    parts: list[str] = []
    rest = name
    while True:
        if rest.startswith('"'):
            end = _closing_quote(rest, name)
            parts.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :]
        else:
            part, dot, after = rest.partition(".")
            parts.append(part)
            rest = dot + after
        if not rest:
            break
        if not rest.startswith("."):
            raise ValueError(f"{name!r} is not a table name")
        rest = rest[1:]
    if not all(parts) or len(parts) > 2:
        raise ValueError(f"{name!r} is not a table name")
    return tuple(parts)


def _closing_quote(rest: str, name: str) -> int:
    at = 1
    while (at := rest.find('"', at)) != -1:
        if rest[at : at + 2] != '""':
            return at
        at += 2
    raise ValueError(f"{name!r} has an open quote")
