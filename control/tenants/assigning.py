"""Takes rows from one tenant to another, with all that goes along, in the batches of the backfill's engine.

Before the stage `keys` a row moves where it stands. Afterwards one to which a foreign key with the tenant in
it points can't: it is copied to its new tenant, what points to it moves, and it is removed where it was. What
has gone is noted by its key, so that an assignment that was broken off goes on, and one can be taken back.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from control.conductor import settings_of, watching
from control.course import actor, go_on
from control.jobs import heap_of, job_spec, parts
from control.proof import unfilled
from control.stage import Ground, Standing
from control.stages.backfill import drive
from control.tenants.family import Family, Named, family, link
from sql.errors import AssignmentError, QuarantineError
from sql.job import JobSpec, Link, Moving, Step
from sql.postgres import assignments as looks
from sql.postgres import catalog
from sql.postgres.facts import Catalog
from sql.postgres.facts import Table as CatalogTable
from worker import assignments, audit, jobs, ledger, paging
from worker.assignments import Assignment

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Where the audit and the log say that it happens.
STAGE = "assign"
#: Seconds between two looks at transactions that are still open; and after which the operator is told.
POLL, TELL_AFTER = 0.2, 5.0
#: So many times rows are gone for again that came, or that somebody pointed to, in the meantime.
ROUNDS = 20


def carry_out(ground: Ground, assignment: Assignment, *, throttle: bool = True) -> dict[str, int]:
    """Take an assignment from wherever it is to its end; how many rows it took from each table.

    The migration runs meanwhile, as it does during a backfill, and is what it was afterwards.

    Raises:
        AssignmentError: rows were set aside, or the application goes on pointing to rows that are to leave.
        JobStoppedError: more than half of the last batches failed.
        CancelledError: the migration is cancelled.
    """
    connection, plan, migration = ground.connection, ground.plan, ground.migration
    known = ledger.read(connection, plan.name)
    settings = settings_of(plan, throttle=throttle, tuned=known.tuned)
    ledger.tune(connection, migration, known.tuned, watching(connection, settings, known.settings))
    ledger.set_state(connection, migration, "running")
    try:
        _Work(ground, family(plan, ground.original, assignment.tables), assignment).to_the_end()
    except QuarantineError as error:
        opens = "Mend them, then give the same command again: it goes on where it is"
        raise AssignmentError(list(error.facts), opens) from None
    jobs.forget_kind(connection, migration, "assign")
    return end(ground, assignment)


def end(ground: Standing, assignment: Assignment) -> dict[str, int]:
    """Put the end of an assignment on record; how many rows it took from each table.

    Raises:
        CancelledError: the migration is cancelled.
    """
    connection, migration = ground.connection, ground.migration
    rows = assignments.end(connection, assignment.id)
    told = ", ".join(f"{count:,} of {table}" for table, count in sorted(rows.items())) or "no rows"
    audit.record(connection, migration, actor(), "assigned", f"{assignment}: {told}")
    # A word that came during the last batches is not to be written over.
    go_on(ground, STAGE)
    ledger.set_state(connection, migration, assignment.before)
    return rows


def is_pointed_to(table: CatalogTable, tenant_column: str) -> bool:
    """Whether a foreign key with the tenant in it leads to a table, so that its rows must be copied."""
    return any(tenant_column in key.target_columns for key in table.referenced_by)


def _in_any_order(spec: JobSpec) -> JobSpec:
    """The same job, were no row to wait for another: those of a circle would for ever."""
    return spec.model_copy(update={"moving": spec.moving and spec.moving.model_copy(update={"first": ()})})


@dataclass(frozen=True, slots=True)
class _Work:
    ground: Ground
    family: Family
    assignment: Assignment

    def to_the_end(self) -> None:
        for _ in range(ROUNDS):
            live = catalog.read(self.ground.connection, [table.name for table in self.ground.plan.tables])
            copied = [
                name
                for name in self.family.order
                if is_pointed_to(live.table(name), self.ground.plan.tenant.column)
            ]
            behind = {name: self._take(name, live, copy=name in copied) for name in self.family.order}
            for name in reversed(copied):
                # It knows of no row of the new tenant: copies were looked for one by one among all of them.
                looks.analyze(self.ground.connection, live.table(name).identifier)
                # A tree from below: what is named by another row goes after that.
                while self._round(name, live, "remove")[0] and self._is_tree(name):
                    pass
                behind[name] += self._still_there(name, live)
            if not any(behind.values()):
                for name in reversed(copied):
                    self._round(name, live, "withdraw")
                return
        left = ", ".join(f"{rows} of {name}" for name, rows in behind.items() if rows)
        from_ = self.assignment.from_tenant
        raise AssignmentError(
            [f"the application goes on writing rows of {from_} that would go along: {left}"],
            "Let it write the tenant of the row that they go along with, then give the same command again",
        )

    def _take(self, name: str, live: Catalog, *, copy: bool) -> int:
        """Take a table's rows, those of a tree level by level; how many are left behind."""
        if name not in self.family.asked:
            # Whoever did not see its parent go may still write a row for it; a row of now is found.
            self._wait_for_others()
        while True:
            rows, left = self._round(name, live, "copy" if copy else "move")
            if not rows or not self._is_tree(name):
                return left

    def _is_tree(self, name: str) -> bool:
        return any(way.parent == name for way in self.family.above[name])

    def _round(self, name: str, live: Catalog, step: Step) -> tuple[int, int]:
        """Drive a table's parts through one step; how many rows it took, and how many have come since."""
        connection, migration = self.ground.connection, self.ground.migration
        jobs.forget_kind(connection, migration, "assign")
        for part in parts(live.table(name)):
            self._add(name, part, self._moving(name, live, step))
        rows = left = 0
        for job in jobs.of_kind(connection, migration, "assign"):
            with structlog.contextvars.bound_contextvars(table=job.part):
                log.info("rows go to another tenant", step=step, to=self.assignment.to_tenant)
                drive(self.ground, job.id)
            rows += jobs.rows_done(connection, job.id)
            left += unfilled(connection, _in_any_order(job.spec))
        return rows, left

    def _add(self, name: str, part: CatalogTable, moving: Moving) -> None:
        connection, plan = self.ground.connection, self.ground.plan
        heap = heap_of(connection, part)
        found, _ = job_spec(plan, plan.table(name), part, heap)
        own = {found.tenant_column, *(one.name for one in found.own_key)}
        beside = [one for one in part.columns if not one.generated and one.name not in own]
        columns = tuple(one.name for one in beside if one.identity != "a")
        fixed = tuple(one.name for one in beside if one.identity == "a")
        spec = found.model_copy(
            update={
                "moving": moving.model_copy(update={"columns": columns, "fixed": fixed}),
                # Each row once: it leaves its page, or a page of its index, whatever is done.
                "paging": "contiguous" if found.key else "pages",
                "stripes": 1,
                "most_rows": paging.LARGEST,
                # Foreign keys are to be looked at.
                "hold_triggers": found.hold_triggers and not found.tenant_in_unique_index,
            }
        )
        jobs.add(
            connection,
            self.ground.migration,
            table=name,
            part=part.identifier.as_string(),
            spec=spec,
            last_key=paging.last_key(connection, spec, heap.pages),
            batch_rows=paging.first_size(plan.backfill.first_batch, heap.rows, spec),
            rows_total=heap.rows,
            why=f"rows of {self.assignment.from_tenant} go to {self.assignment.to_tenant}",
        )

    def _moving(self, name: str, live: Catalog, step: Step) -> Moving:
        assignment, asked = self.assignment, name in self.family.asked
        above = {way: self._link(way, live) for way in self.family.above[name]}
        return Moving.model_validate(
            {
                "assignment": assignment.id,
                "step": step,
                "to": assignment.to_tenant,
                "from_": assignment.from_tenant,
                "where": assignment.condition if asked else None,
                "noted_by": assignment.undoes if asked else None,
                "above": list(above.values()),
                "first": [link for way, link in above.items() if way.parent == name and step == "copy"],
                "below": list(self._below(name, live)) if step == "remove" else [],
            }
        )

    def _link(self, named: Named, live: Catalog) -> Link:
        return link(named, self.ground.plan, live)

    def _below(self, name: str, live: Catalog) -> Iterator[Link]:
        """Whoever names rows of a table by a foreign key inside the plan: the pairs the other way round."""
        for child, _, named in self.family.edges:
            if named.parent == name:
                table = live.table(child)
                yield Link(
                    named=child,
                    schema_=table.schema_,
                    table=table.name,
                    pairs=tuple((theirs, ours) for ours, theirs in named.pairs),
                )

    def _still_there(self, name: str, live: Catalog) -> int:
        """How many rows were copied, and are still where they were."""
        rows = looks.Chosen(
            live.table(name).identifier,
            self.ground.plan.tenant.column,
            self.assignment.from_tenant,
            noted=(self.assignment.id, name, self._link(Named(name, ()), live).identity),
            open_only=True,
        )
        return looks.count(self.ground.connection, rows)

    def _wait_for_others(self) -> None:
        """Wait until all transactions of before are over."""
        connection, begun, told = self.ground.connection, time.monotonic(), False
        moment = looks.moment(connection)
        while not looks.seen(connection, moment):
            if not told and time.monotonic() - begun > TELL_AFTER:
                self.ground.notify("assign: waiting for transactions that may not have seen which rows went")
                told = True
            go_on(self.ground, STAGE)
            time.sleep(POLL)
