"""Views that GROUP BY a key that changes and select more than the key.

What such a view selects beside the key hangs on the key alone, as the server knows of a primary key. So that
can't be dropped under the view; and once the tenant is in the key, GROUP BY has to name the tenant as well
for the view to be valid. It gives the same groups, as long as one key is in one tenant.

In the swap's own transaction the view is replaced by one with the same columns and no rows behind it, the key
is swapped, and the view is replaced again: nobody ever sees the one in between. It is never dropped, so all
that hangs on it stays: owner, rights, comments, defaults, triggers, rules, and the views upon it. (pg_dump
brings such views back in the same two steps.) On the way back it gets the definition that it had.

`, alias.tenant` goes behind the key's columns in a GROUP BY, which is found by the words and quotes of what
the server itself wrote; and preflight has the server accept it, or the plan is refused.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from psycopg import sql

from control.keys.clauses import together
from control.stage import Step
from sql.postgres import catalog
from sql.postgres.catalog import verbatim
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, Table, View
from sql.postgres.views import STATEMENTS, as_written

#: What the server writes a definition in: strings, quoted names, words, and single characters.
_TOKEN = re.compile(
    r"""E'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | [^\W\d][\w$]* | \s+ | .""",
    re.VERBOSE | re.DOTALL,
)
#: Where a GROUP BY ends, unless a parenthesis closes before.
_AFTER = frozenset(
    {"HAVING", "WINDOW", "ORDER", "UNION", "INTERSECT", "EXCEPT", "LIMIT", "OFFSET", "FETCH", "FOR"}
)
#: A GROUP BY of several sets: not each of its groups has a key.
_SETS = frozenset({"GROUPING", "ROLLUP", "CUBE", "DISTINCT"})


@dataclass(frozen=True, slots=True)
class _Element:
    """An element of a GROUP BY: its tokens but for white space, and the place right after the last one."""

    tokens: tuple[str, ...]
    end: int


def with_columns(view: View, key: Sequence[str], added: Sequence[str]) -> str | None:
    """Its definition, with these columns in each GROUP BY of the key; None if there is no such GROUP BY."""
    places = _places(view.definition, key, added)
    return _inserted(view.definition, places) if places else None


def with_fewer(view: View, key: Sequence[str], added: Sequence[str]) -> list[str]:
    """What it would be with the columns in one GROUP BY less, each in turn."""
    places = _places(view.definition, key, added)
    return [_inserted(view.definition, some) for some in combinations(places, len(places) - 1)]


def without_schema(definition: str, table: Table) -> str:
    """The definition with a table's name as it is found in a search path."""
    tokens = [found[0] for found in _TOKEN.finditer(definition)]
    named = [table.schema_, ".", table.name]
    kept: list[str] = []
    for token in tokens:
        kept.append(token)
        if [_plain(one) for one in kept[-3:]] == named:
            kept[-3:] = [kept[-1]]
    return "".join(kept)


def as_they_are(connection: Connection, original: Catalog) -> Catalog:
    """The catalog of before, without views that somebody dropped or defined otherwise since.

    Those are let alone: one that still leans on the key stops the swap, and the server names it.
    """
    names = [name for name, table in original.tables.items() if table.views]
    if not names:
        return original
    live = catalog.read(connection, names).tables
    tables = {
        name: original.table(name).model_copy(
            update={"views": tuple(_ours(connection, original.table(name), live[name]))}
        )
        for name in names
        if name in live
    }
    return original.model_copy(update={"tables": {**original.tables, **tables}})


def _ours(connection: Connection, was: Table, now: Table) -> Iterator[View]:
    """Those that lean on the key, and are defined as before or as the swap defines them.

    By the name and the options of now: a `security_invoker` set since would be lost with those of before, and
    under the name of before a view would come that nobody made.
    """
    leaning = {view.oid: view for view in now.views}
    named = {(view.schema_, view.name): view for view in now.views}
    for view in was.views:
        # Dropped and made again, as deployments do, it is the same.
        found = leaning.get(view.oid) or named.get((view.schema_, view.name))
        definition = _for_key(view, was, now.primary_key.columns if now.primary_key else ())
        if (
            found is not None
            and definition is not None
            and found.columns == view.columns
            and found.definition in _written(connection, definition)
        ):
            yield view.model_copy(
                update={key: getattr(found, key) for key in ("oid", "schema_", "name", "options")}
            )


def _written(connection: Connection, definition: str) -> Iterator[str]:
    """A definition, and what the server makes of it: an IN of varchars is written otherwise the next time."""
    yield definition
    if (written := as_written(connection, definition)) is not None:
        yield written


def around(swap: Step, was: Table, columns: Sequence[str]) -> Step:
    """The swap of a primary key, with the views that lean on it let go before and defined again after it."""
    known = {
        view: definition for view in was.views if (definition := _for_key(view, was, columns)) is not None
    }
    if not known:
        return swap
    names = ", ".join(f"{view.schema_}.{view.name}" for view in known)
    let_go = [_define(view, _rowless(view)) for view in known]
    again = [_define(view, definition) for view, definition in known.items()]
    return replace(
        swap,
        what=f"{swap.what}, under the view{'s' if len(known) > 1 else ''} {names}",
        statement=together([*let_go, swap.statement, *again]),
        # A reader locks the view, then its tables. With the table locked first, four readers of the view each
        # had that and waited for the table, and in 300 s no attempt came between them.
        first=together(let_go),
    )


def _for_key(view: View, was: Table, columns: Sequence[str]) -> str | None:
    old = was.primary_key.columns if was.primary_key else ()
    added = [column for column in columns if column not in old]
    return with_columns(view, old, added) if added else view.definition


def _define(view: View, definition: str) -> sql.Composed:
    return STATEMENTS.define.compose(
        view=view.identifier, options=_options(view.options), definition=verbatim(definition)
    )


def _options(options: Sequence[str]) -> sql.Composable:
    if not options:
        return sql.SQL("")
    pairs = [option.partition("=") for option in options]
    return sql.SQL(" WITH ({})").format(
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(k), sql.Literal(v)) for k, _, v in pairs)
    )


def _rowless(view: View) -> str:
    """A definition with the same columns that leans on nothing."""
    columns = [
        f"NULL::{one.type}{f' COLLATE {one.collation}' if one.collation else ''} "
        f"AS {sql.Identifier(one.name).as_string()}"
        for one in view.columns
    ]
    return f"SELECT {', '.join(columns)}"


def _places(definition: str, key: Sequence[str], added: Sequence[str]) -> list[tuple[int, str]]:
    """Where what is to be inserted, in order: behind the last column of the key, once for each alias."""
    found: list[tuple[int, str]] = []
    for elements in _groups(definition):
        of: dict[tuple[str, ...], dict[str, int]] = {}
        for element in elements:
            *alias, column = element.tokens
            if len(alias) in (0, 2):  # `id`, or `e . id`
                of.setdefault(tuple(alias), {})[_plain(column)] = element.end
        for alias_, columns in of.items():
            if set(key) <= columns.keys():
                missing = [column for column in added if column not in columns]
                text = "".join(f", {''.join(alias_)}{sql.Identifier(one).as_string()}" for one in missing)
                found.append((max(columns[column] for column in key), text))
    return sorted(found)


def _inserted(definition: str, places: Sequence[tuple[int, str]]) -> str:
    for at, text in reversed(places):
        definition = definition[:at] + text + definition[at:]
    return definition


def _groups(definition: str) -> Iterator[list[_Element]]:
    """The elements of each GROUP BY, at whatever depth."""
    tokens = [found for found in _TOKEN.finditer(definition) if not found[0].isspace()]
    for at in range(len(tokens) - 1):
        if (tokens[at][0], tokens[at + 1][0]) == ("GROUP", "BY"):
            elements = list(_elements(tokens[at + 2 :]))
            if not any(element.tokens[0] in _SETS for element in elements if element.tokens):
                yield elements


def _elements(tokens: Sequence[re.Match[str]]) -> Iterator[_Element]:
    depth, end = 0, 0
    said: list[str] = []
    for token in tokens:
        text = token[0]
        depth += (text in "([") - (text in ")]")
        if depth < 0 or (depth == 0 and text in _AFTER):
            break
        if depth == 0 and text == ",":
            yield _Element(tuple(said), end)
            said = []
            continue
        said.append(text)
        end = token.end()
    if said:
        yield _Element(tuple(said), end)


def _plain(token: str) -> str:
    """A name without its quotes."""
    return token[1:-1].replace('""', '"') if token.startswith('"') else token
