"""`tenantry demo --sqlite`: the whole migration of a sample graph in a file while an application works."""

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

import sql.sqlite
from control import conductor as either
from control.demo import journal, sample_file, summary
from control.demo.application_process import ApplicationProcess
from control.demo.deploying import every_stage
from control.demo.messages import Settings
from control.demo.summary import Told
from control.plan.model import Plan
from control.report import account
from control.sqlite import conductor
from control.watch import follow
from sql.named import load
from sql.sqlite.connection import SCHEME, File

STATEMENTS = load(Path(sql.sqlite.__file__).parent, "demo")


def plan_for(path: Path, backup: Path | None = None) -> Plan:
    """The plan of the guide for the sample graph: entities by expression, relations by their source."""
    tenant_index = {"columns": ["tenant_id"]}
    return Plan.model_validate(
        {
            "name": "multi-tenancy",
            "database": {"url": f"{SCHEME}{path}"},
            "backup": None if backup is None else {"path": str(backup)},
            "verify": {"quiet": "3s"},
            "tables": [
                {
                    "name": "entities",
                    "tenant": {"expression": "properties->>'org_id'", "otherwise": "legacy_default"},
                    "indexes": [
                        {"name": "idx_entities_tenant", **tenant_index},
                        {"name": "idx_entities_tenant_type", "columns": ["tenant_id", "entity_type"]},
                    ],
                    "primary_key": ["id", "tenant_id"],
                },
                {
                    "name": "relations",
                    "tenant": {"parent": "entities", "on": {"source_id": "id"}},
                    "indexes": [
                        {"name": "idx_relations_tenant", **tenant_index},
                        {"name": "idx_relations_tenant_source", "columns": ["tenant_id", "source_id"]},
                        {"name": "idx_relations_tenant_target", "columns": ["tenant_id", "target_id"]},
                    ],
                    "primary_key": ["id", "tenant_id"],
                },
            ],
        }
    )


def migrate(entities: int, console: Console) -> Told:
    """Run the demo, its progress on the console; what it has to tell at the end.

    Raises:
        TenantryError: a stage or the application failed.
    """
    with tempfile.TemporaryDirectory(prefix="tenantry-demo-") as made:
        folder = Path(made)
        path = folder / "graph.db"
        console.print(f"filling {entities:,} entities and {2 * entities:,} relations", style="dim")
        begun = time.monotonic()
        sample_file.make(path, entities=entities)
        console.print(f"filled in {time.monotonic() - begun:.1f} s", style="dim")
        plan = plan_for(path, folder / "backup.db")
        settings = Settings(url=SecretStr(f"{SCHEME}{path}"), folder=folder / "journal", entities=entities)
        return _migrate(plan, settings, path, console)


def _migrate(plan: Plan, settings: Settings, path: Path, console: Console) -> Told:
    before = path.stat().st_size
    with conductor.controller(plan) as file, ApplicationProcess(settings) as application:
        with follow.shown(
            plan.database.url.get_secret_value(),
            plan.name,
            console,
            application=lambda: summary.line(application.latest),
        ) as notices:
            every_stage(
                partial(conductor.run, plan, file, notify=notices),
                partial(either.confirm, plan, file),
                application,
            )
        report = application.stop()
        return Told(
            account=account.read(plan, "", file),
            growth={},
            notes=tuple(_notes(file, before)),
            application=report,
            journal=journal.check(
                file, settings.folder, entities=settings.entities, tenant_column=plan.tenant.column
            ),
        )


def _notes(file: File, before: int) -> Iterator[str]:
    (now,) = file.rows(STATEMENTS.size.filled())
    was, grown_to, growth = summary.grown(before, now["size"])
    wal = file.path.with_name(f"{file.path.name}-wal").stat().st_size
    yield (
        f"file: {was} before, {grown_to} after ({growth}), {summary.megabytes(now['free'])} of it free for "
        f"new rows; its WAL was {summary.megabytes(wal)} at most"
    )
    batch = file.value(STATEMENTS.longest_batch.filled())
    yield f"our longest write lock: {file.longest * 1000:.0f} ms; of a batch {batch:.0f} ms"
