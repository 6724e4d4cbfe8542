"""The models that the document maps once the column is there, and what becomes of them where it isn't."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import pytest
from django.db import ProgrammingError as DjangoProgrammingError
from django.db import connections, models
from django.db.migrations.state import ModelState, ProjectState
from psycopg import errors
from sqlalchemy import exc, select
from sqlalchemy.orm import Session

from tests.application.drivers import SQLAlchemy, with_django
from tests.application.stages import Databases

Module = Callable[[str], ModuleType]

pytestmark = pytest.mark.usefixtures("django_ready")
#: The gate `application`, and everything after it.
MAPPED = ("halfway", "permissive", "strict", "verified")


class BySQLAlchemy:
    """A model of SQLAlchemy at a stage."""

    def __init__(self, databases: Databases, stage: str, tenancy: Module) -> None:
        self._model = tenancy("sqlalchemy_models").Entity
        self._engine = SQLAlchemy(databases.url(stage), tenancy).engine

    def opened(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def close(self) -> None:
        self._engine.dispose()

    def add(self, entity_id: str, kind: str) -> None:
        with Session(self._engine) as session, session.begin():
            session.add(self._model(id=entity_id, entity_type="new"))
        with Session(self._engine) as session, session.begin():
            for entity in session.scalars(select(self._model).where(self._model.id == entity_id)):
                entity.entity_type = kind

    def of_type(self, kind: str) -> list[tuple[str, str]]:
        with Session(self._engine) as session:
            found = session.scalars(select(self._model).where(self._model.entity_type == kind))
            return [(entity.id, entity.tenant_id) for entity in found]


class ByDjango:
    """A model of Django at a stage."""

    def __init__(self, databases: Databases, stage: str, tenancy: Module) -> None:
        self._model = tenancy("models").Entity.objects.using(stage)
        self._transaction = tenancy("with_django").tenant_transaction
        self._stage = stage
        self._held = with_django(databases, stage, tenancy)
        self._held.__enter__()

    def close(self) -> None:
        self._held.__exit__(None, None, None)

    def add(self, entity_id: str, kind: str) -> None:
        with self._transaction(self._stage):
            entity = self._model.create(id=entity_id, entity_type="new")
            entity.entity_type = kind
            entity.save(using=self._stage)

    def of_type(self, kind: str) -> list[tuple[str, str]]:
        with self._transaction(self._stage):
            return list(self._model.filter(entity_type=kind).values_list("id", "tenant_id"))


@pytest.fixture(params=[BySQLAlchemy, ByDjango])
def at(request: pytest.FixtureRequest, databases: Databases, tenancy: Module) -> Any:
    """Open the model of an ORM at a stage."""
    held: list[Any] = []

    def opening(stage: str) -> Any:
        held.append(request.param(databases, stage, tenancy))
        return held[-1]

    yield opening
    for each in held:
        each.close()


@pytest.mark.parametrize("stage", MAPPED)
def test_a_model_writes_and_reads_for_the_tenant_of_the_context(
    at: Callable[[str], Any], tenancy: Module, stage: str, request: pytest.FixtureRequest
) -> None:
    kind = request.node.name
    with tenancy("context").acting_for("org-07"):
        entities = at(stage)
        entities.add(kind, kind)
        assert entities.of_type(kind) == [(kind, "org-07")]
    if stage != "halfway":
        with tenancy("context").acting_for("org-08"):
            assert entities.of_type(kind) == []
            entities.add(kind, kind)
            assert entities.of_type(kind) == [(kind, "org-08")]


@pytest.mark.parametrize("stage", MAPPED)
def test_a_model_without_a_tenant_fails_before_it_writes(
    at: Callable[[str], Any], tenancy: Module, stage: str
) -> None:
    entities = at(stage)
    with pytest.raises((tenancy("context").NoTenantError, exc.StatementError)) as failed:
        entities.add("nobody's", "nobody's")
    assert tenancy("context").NoTenantError in {type(failed.value), type(getattr(failed.value, "orig", None))}


def test_before_the_column_is_there_a_model_that_has_it_fails(
    at: Callable[[str], Any], tenancy: Module
) -> None:
    entities = at("unmigrated")
    with (
        tenancy("context").acting_for("org-07"),
        pytest.raises((exc.ProgrammingError, DjangoProgrammingError)) as failed,
    ):
        entities.of_type("person")
    assert isinstance(getattr(failed.value, "orig", failed.value.__cause__), errors.UndefinedColumn)


def test_the_migration_of_django_tells_django_of_the_column_and_the_database_nothing(
    databases: Databases, tenancy: Module
) -> None:
    before = ProjectState()
    fields = [("id", models.TextField(primary_key=True))]
    before.add_model(ModelState("tenancy", "Entity", fields, {"db_table": "graph_entities"}))
    migration = tenancy("migrations.0002_tenant").Migration("0002_tenant", "tenancy")
    with (
        with_django(databases, "halfway", tenancy),
        connections["halfway"].schema_editor(collect_sql=True) as editor,
    ):
        after = migration.apply(before, editor, collect_sql=True)
        sent = [line for line in editor.collected_sql if not line.startswith("--")]
    assert sent == []
    assert "tenant_id" in after.models["tenancy", "entity"].fields
