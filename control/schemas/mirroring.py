"""Keeps the shared tables and the tenants' tables the same: a trigger on each writes to the other side.

Down, from a shared table to its tenant's: old code's writes. Up, from a tenant's table to the shared one: new
code's, and after the switch all: so that nothing is lost on the way back. One setting of the transaction ends
the loop: what is written while it is on comes from the other side.
"""

from collections.abc import Iterator, Sequence
from typing import LiteralString

from psycopg import sql

from control.names import fitting
from sql.postgres.connection import Connection, literal
from sql.postgres.schemas import MIRROR, Pattern

SCHEMA = "tenantry_mirror"
#: On the shared tables and on the tenants'; before `RI_…`, so that a cascade finds the other side done, and
#: before the application's: what one makes of its row would else be overtaken by the row as it was.
TRIGGER = "!tenantry_mirror"
TRUNCATE_TRIGGER = "!tenantry_mirror_truncate"
#: Where every write to a tenant's table reads what the shared one is called.
NAMES = sql.Identifier(SCHEMA, "tables")
#: What a foreign key does to rows, as its definition has it.
_ACTIONS = (" ON DELETE CASCADE", " ON DELETE SET ")


def function_name(way: str, named: str) -> tuple[str, str]:
    """The function of a shared table that writes `up`, `down`, or copies: its schema and its name."""
    return SCHEMA, fitting(f"{way} {named}")


def function(way: str, named: str) -> sql.Identifier:
    """The same, quoted."""
    return sql.Identifier(*function_name(way, named))


def next_function(pattern: Pattern, column: str) -> sql.Identifier:
    """The function that copies of an identity column draw on."""
    return sql.Identifier(SCHEMA, fitting(f"next {pattern.schema_}.{pattern.name}.{column}"))


def put(
    connection: Connection, patterns: Sequence[tuple[str, Pattern]], column: str, search_path: Sequence[str]
) -> None:
    """Make what copies and triggers lean on: notes and functions. In one transaction, once."""
    with connection.transaction():
        for statement in _put(patterns, column, search_path):
            connection.execute(statement)


def _put(
    patterns: Sequence[tuple[str, Pattern]], column: str, search_path: Sequence[str]
) -> Iterator[sql.Composed]:
    for name in ("schema", "schemas", "tables", "filled", "strays", "apart"):
        yield getattr(MIRROR, f"create_{name}").compose()
    yield MIRROR.create_switched_function.compose()
    yield MIRROR.grant_function.compose(function=sql.Identifier(SCHEMA, "switched"))
    yield MIRROR.create_truncate_function.compose()
    every = [reference for _, pattern in patterns for reference in pattern.references_]
    acted_on = {one.target for one in every if any(action in one.definition for action in _ACTIONS)}
    for named, pattern in patterns:
        yield MIRROR.note_table.compose(
            named=literal(named), shared=sql.Literal(pattern.identifier.as_string())
        )
        for one in pattern.columns:
            if one.sequence is not None:
                yield MIRROR.create_next_function.compose(
                    function=next_function(pattern, one.name), sequence=sql.Literal(one.sequence)
                )
                yield MIRROR.grant_function.compose(function=next_function(pattern, one.name))
        path = _path(pattern, search_path)
        yield _down(named, pattern, column, path)
        yield _up(named, pattern, column, path, cascades=pattern.oid in acted_on)
        yield _copy(named, pattern, column, path)


def _path(pattern: Pattern, search_path: Sequence[str]) -> sql.Composable:
    """Where names are looked up by what a write sets off: the application's triggers, checks, operators.

    As in the operator's session; temporary tables, which any session could put in front, come last.
    """
    path = dict.fromkeys(["pg_catalog", *search_path, pattern.schema_, "pg_temp"])
    return sql.SQL(", ").join(map(sql.Identifier, path))


def triggers_of_shared(named: str, pattern: Pattern) -> Iterator[tuple[str, sql.Composed]]:
    """The triggers on a shared table, by name."""
    name, table = sql.Identifier(TRIGGER), pattern.identifier
    yield (
        TRIGGER,
        MIRROR.create_trigger.compose(
            trigger=name, table=table, function=function("down", named), argument=sql.SQL("")
        ),
    )
    yield (
        TRUNCATE_TRIGGER,
        MIRROR.create_truncate_trigger.compose(trigger=sql.Identifier(TRUNCATE_TRIGGER), table=table),
    )


def triggers_of_copy(table: sql.Identifier, named: str, tenant: str) -> Iterator[sql.Composed]:
    """The triggers on a tenant's table."""
    yield MIRROR.create_trigger.compose(
        trigger=sql.Identifier(TRIGGER),
        table=table,
        function=function("up", named),
        argument=sql.Literal(tenant),
    )
    yield MIRROR.create_truncate_trigger.compose(trigger=sql.Identifier(TRUNCATE_TRIGGER), table=table)


def written(pattern: Pattern, column: str) -> list[str]:
    """The columns that a copy takes from its row."""
    return [
        one.name
        for one in pattern.columns
        if not one.generated and (pattern.had_tenant or one.name != column)
    ]


def _list(names: Sequence[str], beginning: LiteralString = "") -> sql.Composable:
    return sql.SQL(", ").join([sql.SQL(beginning) + sql.Identifier(name) for name in names])


def _row(names: Sequence[str], beginning: LiteralString) -> sql.Composed:
    return sql.SQL("ROW({})").format(_list(names, beginning))


def _same_key(pattern: Pattern, value: LiteralString, row: LiteralString = "c") -> sql.Composable:
    """Whether a row called `c`, or as given, has the key of `value`."""
    same = sql.SQL("{1}.{0} = {2}.{0}")
    return sql.SQL(" AND ").join(
        [same.format(sql.Identifier(name), sql.SQL(row), sql.SQL(value)) for name in pattern.key]
    )


def _text(statement: sql.Composable) -> sql.Literal:
    """A piece of a statement, as the text that a function executes."""
    return sql.Literal(statement.as_string())


def _changes(names: Sequence[str]) -> sql.Composed:
    return sql.SQL("{}::record OPERATOR(pg_catalog.*<>) {}::record").format(
        _row(names, "OLD."), _row(names, "NEW.")
    )


def _down(named: str, pattern: Pattern, column: str, path: sql.Composable) -> sql.Composed:
    own, table = written(pattern, column), sql.Identifier(pattern.name)
    differs = sql.SQL("{}::record OPERATOR(pg_catalog.*<>) {}::record").format(
        _row(own, "c."), _row(own, "excluded.")
    )
    upsert = sql.SQL(
        ".{table} AS c ({columns}) SELECT {values} ON CONFLICT ({key}) "
        "DO UPDATE SET ({columns}) = {excluded} WHERE {differs}"
    ).format(
        table=table,
        columns=_list(own),
        values=_list(own, "($1)."),
        key=_list(pattern.key),
        excluded=_row(own, "excluded."),
        differs=differs,
    )
    change = sql.SQL(".{} AS c SET ({}) = {} WHERE {}").format(
        table, _list(own), _row(own, "($1)."), _same_key(pattern, "($2)")
    )
    return MIRROR.create_down_function.compose(
        function=function("down", named),
        search_path=path,
        shared=pattern.identifier,
        tenant=sql.Identifier(column),
        removal=_text(sql.SQL(".{} AS c WHERE {}").format(table, _same_key(pattern, "($1)"))),
        key_changes=_changes(pattern.key),
        change=_text(change),
        upsert=_text(upsert),
    )


def _up(named: str, pattern: Pattern, column: str, path: sql.Composable, *, cascades: bool) -> sql.Composed:
    own, tenant = [name for name in written(pattern, column) if name != column], sql.Identifier(column)
    fixed = {one.name for one in pattern.columns if one.identity == "a"}
    changed = [name for name in own if name not in fixed]
    found = sql.SQL(" AS c WHERE {} AND c.{} = $2").format(_same_key(pattern, "($1)"), tenant)
    return MIRROR.create_up_function.compose(
        function=function("up", named),
        search_path=path,
        shared=pattern.identifier,
        named=literal(named),
        removal=_text(found),
        there=_text(found),
        other_tenant=_other_tenant(tenant) if pattern.had_tenant else sql.SQL(""),
        refusal=_refusal([name for name in own if name in fixed]),
        unique_changes=_changes(_unique(pattern, own)),
        change=_text(
            sql.SQL(" AS c SET ({}) = {} WHERE {} AND c.{} = $3").format(
                _list(changed), _row(changed, "($1)."), _same_key(pattern, "($2)"), tenant
            )
        ),
        returning_changed=_text(_still(pattern, tenant, "$3")),
        insertion=_text(
            sql.SQL(" AS c ({}, {}) OVERRIDING SYSTEM VALUE SELECT {}, $2").format(
                _list(own), tenant, _list(own, "($1).")
            )
        ),
        returning_new=_text(_still(pattern, tenant, "$2")),
        keeping=_keeping(pattern) if cascades else sql.SQL(""),
        return_row=_text(sql.SQL(" ({}) SELECT {} FROM ").format(_list(own), _list(own, "c."))),
        return_values=_text(sql.SQL(" AS o SET ({}) = {} FROM ").format(_list(own), _row(own, "c."))),
        return_which=_text(
            sql.SQL(" AS c WHERE {} AND c.{} = $3 AND {}").format(
                _same_key(pattern, "($2)"), tenant, _same_key(pattern, "($1)", "o")
            )
        ),
        own_removal=_text(sql.SQL(" AS c WHERE {}").format(_same_key(pattern, "($1)"))),
        key_text=sql.SQL("{}::text").format(_row(pattern.key, "NEW.")),
    )


def _other_tenant(tenant: sql.Identifier) -> sql.Composed:
    """No row of a schema is another tenant's: the shared table would have it as somebody else's."""
    return sql.SQL(
        "IF TG_OP <> 'DELETE' THEN IF NEW.{}::text IS DISTINCT FROM TG_ARGV[0] THEN "
        "RAISE EXCEPTION USING ERRCODE = 'check_violation', "
        "MESSAGE = format('%L has this schema, and a row of it can''t be of %L', TG_ARGV[0], NEW.{}); "
        "END IF; END IF;"
    ).format(tenant, tenant)


def _still(pattern: Pattern, tenant: sql.Identifier, given: LiteralString) -> sql.Composable:
    """Whether what was written has the key and tenant that it was to have; a trigger may give it others."""
    return sql.SQL(" RETURNING {} AND c.{} = {}").format(_same_key(pattern, "($1)"), tenant, sql.SQL(given))


def _keeping(pattern: Pattern) -> sql.Composable:
    """What is said where a trigger holds a row back, and what points to it would be gone already."""
    said = f"a trigger of {pattern.quoted} holds the row back, and by foreign keys others would go with it"
    hint = "until the switch, delete it by way of the shared table"
    return sql.SQL("RAISE EXCEPTION USING ERRCODE = 'restrict_violation', MESSAGE = {}, HINT = {};").format(
        sql.Literal(said), sql.Literal(hint)
    )


def _unique(pattern: Pattern, own: Sequence[str]) -> list[str]:
    """Those of the columns by whose change a row can come to stand against another one."""
    single = [index for index in pattern.indexes if index.unique or index.constraint == "x"]
    unique = {*pattern.key, *(name for index in single for name in index.columns)}
    if any(one.generated and one.name in unique for one in pattern.columns):
        return list(own)
    return [name for name in own if name in unique]


def _refusal(fixed: Sequence[str]) -> sql.Composable:
    """An identity that is ALWAYS can't be changed in the shared table, and so not in a copy."""
    if not fixed:
        return sql.SQL("")
    return sql.SQL(
        "IF {} THEN RAISE EXCEPTION USING ERRCODE = 'generated_always', MESSAGE = {}; END IF;"
    ).format(_changes(fixed), sql.Literal(f"column {fixed[0]} is generated, and can't be changed"))


def _copy(named: str, pattern: Pattern, column: str, path: sql.Composable) -> sql.Composed:
    own = written(pattern, column)
    return MIRROR.create_copy_function.compose(
        function=function("copy", named),
        search_path=path,
        shared=pattern.identifier,
        insertion=_text(
            sql.SQL(".{} ({}) SELECT {} FROM unnest($1) AS r ON CONFLICT DO NOTHING").format(
                sql.Identifier(pattern.name), _list(own), _list(own, "r.")
            )
        ),
    )
