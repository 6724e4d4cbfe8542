"""Reads the schema of a SQLite file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sql.errors import CatalogError
from sql.named import load
from sql.sqlite.connection import File, shown
from sql.sqlite.facts import Catalog, Column, ForeignKey, Index, Table, Trigger, View
from sql.sqlite.names import folded
from sql.sqlite.words import words

STATEMENTS = load(Path(__file__).parent, "catalog")

#: How everything of ours in a file is called from the start on; none of it is in a `Catalog`.
OURS = "tenantry_"


def read(file: File) -> Catalog:
    """Read the schema as it is; tables and triggers of ours (`tenantry_…`) are left out.

    Raises:
        CatalogError: a statement of it is no UTF-8.
    """
    with file.snapshot():
        objects = [row for row in _ask(file, "objects") if not folded(row["name"]).startswith(OURS)]
        for row in objects:
            _is_utf_8(file, row)
        listed = {row["name"]: row for row in _ask(file, "tables")}
        triggers = [
            Trigger(name=row["name"], table=row["tbl_name"], sql=row["sql"])
            for row in objects
            if row["type"] == "trigger"
        ]
        kinds = {row["name"]: listed[row["name"]]["type"] for row in objects if row["type"] == "table"}
        return Catalog(
            tables={
                row["name"]: _table(file, row, listed[row["name"]], triggers)
                for row in objects
                if kinds.get(row["name"]) == "table"
            },
            views={
                row["name"]: View(name=row["name"], sql=row["sql"], triggers=_of(row["name"], triggers))
                for row in objects
                if row["type"] == "view"
            },
            others={name: kind for name, kind in kinds.items() if kind != "table"},
        )


def _is_utf_8(file: File, row: dict[str, Any]) -> None:
    # SQLite reads such a statement, and the driver sends none: it could never be made again.
    if any(shown(row[part] or "") != (row[part] or "") for part in ("name", "tbl_name", "sql")):
        raise CatalogError(
            f"{file.path}: the statement of {row['type']} {shown(row['name'])} is no UTF-8; "
            "make it again with one that is (it may be Latin-1), then give the same command again"
        )


def ours(file: File) -> dict[str, str]:
    """What of ours is in the file beside the ledger's tables: names and the SQL that makes them."""
    return {
        row["name"]: row["sql"] or "" for row in _ask(file, "objects") if folded(row["name"]).startswith(OURS)
    }


def _table(file: File, row: dict[str, Any], listed: dict[str, Any], triggers: Sequence[Trigger]) -> Table:
    name = row["name"]
    return Table(
        name=name,
        sql=row["sql"],
        without_rowid=bool(listed["without_rowid"]),
        strict=bool(listed["strict"]),
        columns=tuple(map(_column, _ask(file, "columns", table=name))),
        indexes=tuple(_index(file, one) for one in _ask(file, "indexes", table=name)),
        foreign_keys=_foreign_keys(file, name),
        triggers=_of(name, triggers),
        autoincrement=_counts_up(row["sql"]),
    )


def _column(row: dict[str, Any]) -> Column:
    return Column(
        name=row["name"],
        type=row["type"],
        not_null=bool(row["not_null"]),
        default=row["default"],
        key=row["pk"],
        generated=row["hidden"] in {2, 3},
    )


def _index(file: File, row: dict[str, Any]) -> Index:
    columns = tuple(one["name"] for one in _ask(file, "index_columns", index=row["name"]))
    return Index(
        name=row["name"],
        unique=bool(row["unique"]),
        origin=row["origin"],
        partial=bool(row["partial"]),
        columns=columns,
        sql=row["sql"],
    )


def _foreign_keys(file: File, table: str) -> tuple[ForeignKey, ...]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in _ask(file, "foreign_keys", table=table):
        found.setdefault(row["id"], []).append(row)
    return tuple(
        ForeignKey(
            target=rows[0]["target"],
            columns=tuple(row["column"] for row in rows),
            target_columns=_target_columns(file, rows),
            on_update=rows[0]["on_update"],
            on_delete=rows[0]["on_delete"],
        )
        for rows in found.values()
    )


def _target_columns(file: File, rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    if rows[0]["target_column"] is not None:
        return tuple(row["target_column"] for row in rows)
    keyed = [one for one in _ask(file, "columns", table=rows[0]["target"]) if one["pk"]]
    return tuple(one["name"] for one in sorted(keyed, key=lambda one: one["pk"]))


def _counts_up(statement: str) -> bool:
    """Whether the table has AUTOINCREMENT: a keyword, for as a column's name SQLite refuses it unquoted."""
    return any(word.kind == "word" and folded(word.text) == "autoincrement" for word in words(statement))


def _of(table: str, triggers: Sequence[Trigger]) -> tuple[Trigger, ...]:
    return tuple(one for one in triggers if folded(one.table) == folded(table))


def _ask(file: File, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    return file.rows(getattr(STATEMENTS, statement).filled(), parameters)
