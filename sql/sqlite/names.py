"""Names and values as SQLite's SQL writes them.

Only names are composed into statements, and values where SQLite takes no parameters: in DDL and triggers.
"""

from collections.abc import Iterable
from pathlib import Path

from sql.named import load

STATEMENTS = load(Path(__file__).parent, "names")


def quoted(name: str) -> str:
    """Quote a name, whatever is in it but a NUL, which SQLite's SQL can't hold."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str], of: str | None = None) -> str:
    """Quote names for a list of columns, each with the alias `of` before it where there is one."""
    before = "" if of is None else f"{quoted(of)}."
    return ", ".join(f"{before}{quoted(name)}" for name in names)


def literal(value: str | None) -> str:
    """Write a text as SQL, or NULL; a backslash means nothing in SQLite, and only quotes are doubled."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"


def written(value: str) -> str:
    """What writes an SQL expression's value as SQL, as a text that is UTF-8 whatever the value is.

    `quote()` ends a text at its NUL, has no infinity, and leaves bytes that are no UTF-8 as they are.
    """
    no_utf_8 = STATEMENTS.no_utf_8.filled(value=value)
    return (
        f"CASE WHEN typeof({value}) = 'text' AND (instr({value}, char(0)) OR {no_utf_8})"
        f" THEN 'CAST(x''' || hex({value}) || ''' AS TEXT)'"
        f" WHEN typeof({value}) = 'real' AND abs({value}) = 9e999 THEN iif({value} > 0, '9e999', '-9e999')"
        f" ELSE quote({value}) END"
    )


def folded(name: str) -> str:
    """Fold a name as SQLite compares names: ASCII letters only, whatever the quotes around them."""
    return "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in name)
