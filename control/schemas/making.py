"""Makes one tenant's schema: its tables like the shared ones, in one transaction and one round trip.

`LIKE` brings columns, defaults, checks and generated values. What it doesn't bring, or brings under another
name, is made from the server's own definitions of the shared table: indexes and constraints by their names,
comments, privileges, owner, storage, statistics, triggers. Foreign keys come once the rows are there.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import LiteralString

from psycopg import sql

from control.schemas import mirroring
from control.schemas.naming import schema_of
from sql.errors import CatalogError
from sql.postgres.catalog import verbatim
from sql.postgres.connection import literal
from sql.postgres.schemas import MIRROR, STATEMENTS, Column, Grant, Index, Pattern, Statistics, Trigger

#: The kinds of keys, as they are made from an index.
_KINDS = {"p": sql.SQL("PRIMARY KEY"), "u": sql.SQL("UNIQUE")}
_NOTHING = sql.SQL("")
_IDENTITIES = {"f": sql.SQL("FULL"), "n": sql.SQL("NOTHING")}

Statements = Iterator[sql.Composed]


def make(tenant: str, patterns: Sequence[tuple[str, Pattern]], column: str) -> sql.Composed:
    """All that makes a tenant's schema; `patterns` are (plan's name, pattern)."""
    return together(_make(tenant, patterns, column))


def together(statements: Statements) -> sql.Composed:
    """Statements as one text, which the server takes as one transaction."""
    return sql.SQL(";\n").join(statements)


def _make(tenant: str, patterns: Sequence[tuple[str, Pattern]], column: str) -> Statements:
    schema = schema_of(tenant)
    yield STATEMENTS.create_schema.compose(schema=sql.Identifier(schema))
    for named, pattern in patterns:
        yield from _table(schema, tenant, pattern, column)
        table = sql.Identifier(schema, pattern.name)
        for trigger in pattern.triggers:
            yield from application_trigger(table, pattern, trigger, held=True)
        yield from mirroring.triggers_of_copy(table, named, tenant)
    yield from _usage(schema, [pattern for _, pattern in patterns])
    for _, pattern in patterns:
        table = sql.Identifier(schema, pattern.name)
        role = sql.Identifier(pattern.owner)
        yield STATEMENTS.owner.compose(
            name=sql.Literal(pattern.owner), schema=sql.Identifier(schema), table=table, role=role
        )
        for privilege in pattern.owner_lacks:
            yield STATEMENTS.revoke.compose(privilege=verbatim(privilege), table=table, role=role)
    yield MIRROR.note_schema.compose(tenant=literal(tenant), schema=sql.Literal(schema))


def drop(tenant: str, schema: str, patterns: Sequence[Pattern]) -> sql.Composed:
    """All that takes a tenant's schema away."""
    tables = sql.SQL(", ").join([sql.Identifier(schema, pattern.name) for pattern in patterns])
    return together(
        iter(
            [
                STATEMENTS.drop_tables.compose(tables=tables),
                STATEMENTS.drop_schema.compose(schema=sql.Identifier(schema)),
                MIRROR.forget_schema.compose(tenant=literal(tenant)),
            ]
        )
    )


def _table(schema: str, tenant: str, pattern: Pattern, column: str) -> Statements:
    table = sql.Identifier(schema, pattern.name)
    options = (
        sql.SQL(" WITH ({})").format(verbatim(", ".join(pattern.options))) if pattern.options else _NOTHING
    )
    yield STATEMENTS.create_table.compose(
        unlogged=sql.SQL("UNLOGGED") if pattern.unlogged else _NOTHING,
        table=table,
        shared=pattern.identifier,
        options=options,
    )
    if pattern.had_tenant:
        yield STATEMENTS.set_default.compose(
            table=table, column=sql.Identifier(column), default=literal(tenant)
        )
    else:
        yield STATEMENTS.drop_column.compose(table=table, column=sql.Identifier(column))
    yield STATEMENTS.revoke_defaults.compose(name=sql.Literal(table.as_string()))
    for one in pattern.columns:
        if pattern.had_tenant or one.name != column:
            yield from _analyzed(table, one)
        if one.identity:
            yield STATEMENTS.set_default.compose(
                table=table,
                column=sql.Identifier(one.name),
                default=sql.SQL("{}()").format(mirroring.next_function(pattern, one.name)),
            )
    for index in pattern.indexes:
        yield from _index(schema, pattern, index)
    for statistics in pattern.statistics:
        yield from _statistics(schema, pattern, statistics)
    if pattern.comment is not None:
        yield _comment(sql.SQL("TABLE {}").format(table), pattern.comment)
    if pattern.replica_identity in _IDENTITIES:
        yield STATEMENTS.replica_identity.compose(table=table, identity=_IDENTITIES[pattern.replica_identity])
    for grant in pattern.grants:
        yield _grant(table, grant)


def _analyzed(table: sql.Identifier, column: Column) -> Statements:
    """What ANALYZE is told of a column."""
    name = sql.Identifier(column.name)
    if column.target is not None:
        yield _target("TABLE", table, name, column.target)
    if column.options:
        options = verbatim(", ".join(column.options))
        yield STATEMENTS.column_options.compose(table=table, column=name, options=options)


def _target(
    kind: LiteralString, relation: sql.Identifier, column: sql.Composable, target: int
) -> sql.Composed:
    return STATEMENTS.column_target.compose(
        kind=sql.SQL(kind), relation=relation, column=column, target=sql.Literal(target)
    )


def _statistics(schema: str, pattern: Pattern, statistics: Statistics) -> Statements:
    name = sql.Identifier(schema, statistics.name)
    beginning, ending = f"CREATE STATISTICS {statistics.quoted} ", f" FROM {pattern.quoted}"
    yield STATEMENTS.statistics.compose(
        name=name,
        definition=_within(statistics.definition, beginning, ending),
        table=sql.Identifier(schema, pattern.name),
    )
    if statistics.target is not None:
        yield STATEMENTS.statistics_target.compose(name=name, target=sql.Literal(statistics.target))
    if statistics.comment is not None:
        yield _comment(sql.SQL("STATISTICS {}").format(name), statistics.comment)


def _index(schema: str, pattern: Pattern, index: Index) -> Statements:
    table, name = sql.Identifier(schema, pattern.name), sql.Identifier(index.name)
    if index.constraint_definition is not None:
        yield STATEMENTS.add_constraint.compose(
            table=table, name=name, definition=verbatim(index.constraint_definition)
        )
    else:
        beginning = f"CREATE {'UNIQUE ' if index.unique else ''}INDEX {index.quoted}"
        yield STATEMENTS.index.compose(
            beginning=verbatim(beginning),
            table=table,
            definition=_within(index.definition, f"{beginning} ON {pattern.quoted} USING "),
        )
        if index.constraint in _KINDS:
            yield STATEMENTS.key_of_index.compose(table=table, name=name, kind=_KINDS[index.constraint])
    for number, target in index.targets.items():
        yield _target("INDEX", sql.Identifier(schema, index.name), sql.Literal(number), target)
    if index.comment is not None:
        yield _comment(sql.SQL("INDEX {}").format(sql.Identifier(schema, index.name)), index.comment)
    if index.constraint_comment is not None:
        yield _comment(sql.SQL("CONSTRAINT {} ON {}").format(name, table), index.constraint_comment)
    if index.clustered:
        yield STATEMENTS.cluster_on.compose(table=table, index=name)
    if index.replica_identity:
        yield STATEMENTS.replica_identity.compose(
            table=table, identity=sql.SQL("USING INDEX {}").format(name)
        )


def _within(definition: str, beginning: str, ending: str = "") -> sql.SQL:
    """What of a definition stands between its beginning and its end.

    Raises:
        CatalogError: the server writes it another way.
    """
    if not (definition.startswith(beginning) and definition.endswith(ending)):
        raise CatalogError(f"can't take over {definition!r}: it was to begin with {beginning!r}")
    return verbatim(definition[len(beginning) : len(definition) - len(ending)])


def application_trigger(
    table: sql.Identifier, pattern: Pattern, trigger: Trigger, *, held: bool
) -> Statements:
    """One of the application's triggers; `held` until the switch: what is mirrored has fired it before."""
    beginning, on, rest = trigger.definition.partition(f" ON {pattern.quoted} ")
    call, execute, function = rest.rpartition(" EXECUTE FUNCTION ")
    if not on or not execute:
        raise CatalogError(f"can't take over the trigger {trigger.definition!r}")
    if held:
        when, condition = " WHEN (", "tenantry_mirror.switched()"
        if trigger.conditional:
            first, _, own = call.partition(when)
            call = f"{first}{when}{condition} AND {own}"
        else:
            call = f"{call}{when}{condition})"
    yield STATEMENTS.trigger.compose(
        beginning=verbatim(beginning), table=table, definition=verbatim(f"{call}{execute}{function}")
    )
    enabled = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}.get(trigger.enabled)
    if enabled is not None:
        yield set_trigger(table, trigger.name, enabled)
    if trigger.comment is not None:
        yield _comment(
            sql.SQL("TRIGGER {} ON {}").format(sql.Identifier(trigger.name), table), trigger.comment
        )


def set_trigger(table: sql.Identifier, name: str, enabled: str) -> sql.Composed:
    """Enable a trigger in some way, or disable it."""
    return STATEMENTS.set_trigger.compose(
        table=table, trigger=sql.Identifier(name), enabled=verbatim(enabled)
    )


def _comment(what: sql.Composed, comment: str) -> sql.Composed:
    return STATEMENTS.comment.compose(what=what, comment=sql.Literal(comment))


def _role(name: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)


def _grant(table: sql.Identifier, grant: Grant) -> sql.Composed:
    privilege: sql.Composable = verbatim(grant.privilege)
    if grant.column is not None:
        privilege = sql.SQL("{} ({})").format(privilege, sql.Identifier(grant.column))
    return STATEMENTS.grant.compose(
        privilege=privilege,
        table=table,
        role=_role(grant.role),
        grantable=sql.SQL("WITH GRANT OPTION") if grant.grantable else _NOTHING,
    )


def _usage(schema: str, patterns: Sequence[Pattern]) -> Statements:
    """Whoever has a right on one of the tables may come to them."""
    roles = {grant.role for pattern in patterns for grant in pattern.grants}
    roles |= {pattern.owner for pattern in patterns}
    compose = partial(STATEMENTS.grant_usage.compose, schema=sql.Identifier(schema))
    for role in sorted(roles, key=lambda one: one or ""):
        yield compose(role=_role(role))
