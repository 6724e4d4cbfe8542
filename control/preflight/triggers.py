"""What a batch's update would set off: a table's triggers and rules, and whether they can be held off."""

from collections.abc import Iterator

from control.jobs import parts
from control.plan.sections import Table as PlanTable
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres import preflight
from sql.postgres.facts import Table, Trigger


def look(ground: Ground, table: PlanTable, found: Table) -> Iterator[Finding]:
    """Every fact about a table's triggers and rules; a table that needs no backfill sets nothing off."""
    name, column = f"{table.name}: triggers that the backfill fires", ground.plan.tenant.column
    if table.constant is not None and found.column(column) is None:
        yield Finding("pass", name, "none: a constant tenant needs no backfill")
        return
    held = ground.plan.holds_triggers(table)
    # A batch updates a partition by its own name: statement triggers of the parent don't fire.
    fired = [trigger for part in parts(found) for trigger in part.triggers if _fires_on(trigger, column)]
    if held:
        yield from _held(ground, table, found, fired)
    else:
        yield none_of(
            name,
            _names(trigger for trigger in fired if trigger.fires != "replica"),
            level="warn",
            way_out="the backfill updates every row: make sure that these may fire for each (updated_at "
            'changes), or hold them off with user_triggers = "hold"',
            fine="none",
        )
    oids = [part.oid for part in parts(found)]
    yield none_of(
        f"{table.name}: rules",
        preflight.update_rules(ground.connection, oids, held=held),
        level="stop",
        way_out="they would take the place of the backfill's updates: ALTER TABLE … DISABLE RULE them, or "
        "make triggers of them",
        fine="none for UPDATE",
    )


def _held(ground: Ground, table: PlanTable, found: Table, fired: list[Trigger]) -> Iterator[Finding]:
    may = preflight.may_hold_triggers(ground.connection)
    role = preflight.rights(ground.connection).role
    grant = f"GRANT SET ON PARAMETER session_replication_role TO {role}, or "
    if ground.original.server_version < 150_000:
        grant = ""
    yield Finding(
        "pass" if may else "stop",
        f"{table.name}: right to hold triggers off",
        f"{role} {'may' if may else 'may not'} set session_replication_role",
        "" if may else f'{grant}run as a superuser, or say user_triggers = "run"',
    )
    yield none_of(
        f"{table.name}: triggers that fire all the same",
        _names(trigger for trigger in fired if trigger.fires == "always"),
        level="warn",
        way_out="ENABLE ALWAYS means in spite of user_triggers: make sure that they may fire for each row, "
        "or ENABLE them without ALWAYS",
        fine="none",
    )
    yield none_of(
        f"{table.name}: triggers that fire only now",
        _names(trigger for trigger in fired if trigger.fires == "replica"),
        level="warn",
        way_out="ENABLE REPLICA means in a session that holds the others off, as on a subscriber: make sure "
        "that they may fire for each row, or DISABLE them",
        fine="none",
    )
    yield none_of(
        f"{table.name}: checks that would be held off, too",
        _checks(found, ground.plan.tenant.column),
        level="stop",
        way_out='the server checks them by triggers: say user_triggers = "run" for this table',
        fine="none",
    )


def _fires_on(trigger: Trigger, column: str) -> bool:
    return trigger.enabled and trigger.on_update and (not trigger.of_columns or column in trigger.of_columns)


def _checks(found: Table, column: str) -> list[str]:
    """Foreign keys and deferrable keys that hold the tenant column already."""
    whole = (found, *found.partitions)
    keys = {key.name for t in whole for key in t.foreign_keys if column in key.columns}
    keys |= {key.name for t in whole for key in t.referenced_by if column in key.target_columns}
    keys |= {key.name for t in whole for key in t.constraints if key.deferrable and column in key.columns}
    return sorted(keys)


def _names(triggers: Iterator[Trigger]) -> list[str]:
    """Each name once, though every partition has the trigger."""
    return list(dict.fromkeys(trigger.name for trigger in triggers))
