"""Reads `.sql` files into named statements.

A file holds statements, each under two comment lines::

    -- name: claim_and_fill
    -- locks: ROW EXCLUSIVE on {table}; only strong DDL waits for it.
    UPDATE ...

The name is how Python asks for it. The `locks:` line (it may go on over several comment lines) is what a
DBA reads, and what a test holds against `pg_locks`. Identifiers stand in braces and are composed by
`psycopg.sql`, or by `sql.sqlite.names`; values are `%(name)s` parameters, for SQLite `:name`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from psycopg import sql

#: What a body of a function stands between; in one statement always the same.
_DOLLAR_QUOTES = re.compile(r"\$\w*\$")
_HEADER = re.compile(r"^-- name: (?P<name>\w+)\n-- locks: (?P<locks>.+(?:\n--.*)*)\n", re.MULTILINE)


def plain(fragment: sql.Composable) -> sql.SQL:
    """A fragment without parameters, for a statement with some.

    A `%` in a name, a literal or the operator's SQL would else be read as the beginning of one.
    """
    return sql.SQL(fragment.as_string().replace("%", "%%"))


def one_line(text: str) -> str:
    """A text for a script's comment: a name may hold a line break, and what follows must not become SQL."""
    return " ".join(text.splitlines())


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement out of a `.sql` file.

    `text` still has its braces; `locks` is the sentence about what it locks and why that is safe.
    """

    file: str
    name: str
    locks: str
    text: str

    def compose(self, **identifiers: sql.Composable) -> sql.Composed:
        """Put identifiers and fragments into the braces.

        The statement is tagged with its name, so that `pg_stat_activity` and the server's log tell a DBA
        where it stands.
        """
        # The text comes from a file of this package, never from outside: what LiteralString asks for.
        body = sql.SQL(self.text).format(**identifiers)
        if (quotes := _DOLLAR_QUOTES.search(self.text)) is not None:
            body = self._quoted(quotes[0], body, identifiers)
        tag = sql.SQL(f"/* tenantry {self.file}.{self.name} */ ")
        return sql.Composed([tag, body])

    def _quoted(
        self, quotes: str, body: sql.Composed, identifiers: dict[str, sql.Composable]
    ) -> sql.Composed:
        """Quote otherwise what `quotes` quote, where what is put in holds them: it would go on as SQL."""
        found, number = quotes, 0
        while body.as_string().count(found) != self.text.count(quotes):
            number += 1
            found = f"{quotes[:-1]}_{number}$"
            body = sql.SQL(self.text.replace(quotes, found)).format(**identifiers)
        return body

    def filled(self, **fragments: str) -> str:
        """Put quoted names and fragments into the braces of a statement for SQLite."""
        return self.text.format(**fragments)

    def beside_parameters(self, **identifiers: sql.Composable) -> sql.Composed:
        """Compose a statement that takes parameters.

        Always give such a statement its parameters, even if they are empty: `plain` has doubled every `%`.
        """
        return self.compose(**{name: plain(part) for name, part in identifiers.items()})


class Statements:
    """The statements of one `.sql` file, as attributes."""

    def __init__(self, statements: dict[str, Statement]) -> None:
        self._statements = statements

    def __getattr__(self, name: str) -> Statement:
        try:
            return self._statements[name]
        except KeyError:
            raise AttributeError(f"no statement named {name!r}") from None

    def named(self, name: str) -> Statement | None:
        """The statement of that name, or None."""
        return self._statements.get(name)

    def __iter__(self) -> Iterator[Statement]:
        return iter(self._statements.values())


def parse(file: str, text: str) -> dict[str, Statement]:
    """Split the text of one file into its statements.

    Raises:
        ValueError: a name stands twice, or text stands before the first name.
    """
    found = list(_HEADER.finditer(text))
    if text[: found[0].start() if found else None].replace("\n", "").strip() and not text.startswith("--"):
        raise ValueError(f"{file}.sql: text before the first '-- name:' line")
    statements: dict[str, Statement] = {}
    for here, after in zip(found, [*found[1:], None], strict=True):
        name = here["name"]
        if name in statements:
            raise ValueError(f"{file}.sql: {name} stands twice")
        locks = " ".join(line.removeprefix("--").strip() for line in here["locks"].splitlines())
        body = text[here.end() : after.start() if after else len(text)].strip().removesuffix(";")
        statements[name] = Statement(file, name, locks, body)
    return statements


@cache
def load(folder: Path, file: str) -> Statements:
    """Read `folder/file.sql` once per process."""
    return Statements(parse(file, (folder / f"{file}.sql").read_text(encoding="utf-8")))
