"""The four drivers of the document, each through the document's own way of setting the tenant."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from types import ModuleType
from typing import Any, Protocol

import asyncpg
import psycopg
from django.db import connections
from sqlalchemy import CursorResult, Result, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from tests.application.stages import Databases

Module = Callable[[str], ModuleType]
Rows = list[tuple[Any, ...]]


class Driver(Protocol):
    """One connection of one driver."""

    def scoped(self, *statements: str) -> Rows:
        """Run statements in one transaction of the document's; what the last one gave."""
        ...

    def alone(self, statement: str) -> Rows:
        """Run a statement past it, in autocommit."""
        ...

    def nested(self) -> None:
        """Begin one of the document's transactions inside a transaction."""
        ...


class Psycopg:
    """psycopg 3."""

    def __init__(self, connection: psycopg.Connection, tenancy: Module) -> None:
        self._connection = connection
        self._transaction = tenancy("with_psycopg").tenant_transaction

    def scoped(self, *statements: str) -> Rows:
        with self._transaction(self._connection):
            return [self.alone(statement) for statement in statements][-1]

    def alone(self, statement: str) -> Rows:
        cursor = self._connection.execute(statement)
        return cursor.fetchall() if cursor.description else []

    def nested(self) -> None:
        with self._connection.transaction(), self._transaction(self._connection):
            pass


class SQLAlchemy:
    """SQLAlchemy 2 over psycopg."""

    def __init__(self, url: str, tenancy: Module) -> None:
        tenancy("with_sqlalchemy")
        self.engine = create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=StaticPool
        )

    def scoped(self, *statements: str) -> Rows:
        with Session(self.engine) as session, session.begin():
            return [_rows(session.execute(text(statement))) for statement in statements][-1]

    def alone(self, statement: str) -> Rows:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return _rows(connection.execute(text(statement)))

    def nested(self) -> None:
        raise NotImplementedError


def _rows(result: Result[Any]) -> Rows:
    closed = isinstance(result, CursorResult) and not result.returns_rows
    return [] if closed else [tuple(row) for row in result]


class Asyncpg:
    """asyncpg, on a loop of its own."""

    def __init__(self, url: str, tenancy: Module, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._transaction = tenancy("with_asyncpg").tenant_transaction
        self._connection = self._run(asyncpg.connect(url))

    def _run(self, work: Any) -> Any:
        return self._runner.run(work, context=copy_context())

    def close(self) -> None:
        self._run(self._connection.close())

    def scoped(self, *statements: str) -> Rows:
        async def work() -> Rows:
            async with self._transaction(self._connection):
                return [await self._fetch(statement) for statement in statements][-1]

        rows: Rows = self._run(work())
        return rows

    async def _fetch(self, statement: str) -> Rows:
        return [tuple(row) for row in await self._connection.fetch(statement)]

    def alone(self, statement: str) -> Rows:
        rows: Rows = self._run(self._fetch(statement))
        return rows

    def nested(self) -> None:
        async def work() -> None:
            async with self._connection.transaction(), self._transaction(self._connection):
                pass

        self._run(work())


class Django:
    """Django 5."""

    def __init__(self, using: str, tenancy: Module) -> None:
        self._using = using
        self._transaction = tenancy("with_django").tenant_transaction

    def scoped(self, *statements: str) -> Rows:
        with self._transaction(self._using):
            return [self.alone(statement) for statement in statements][-1]

    def alone(self, statement: str) -> Rows:
        with connections[self._using].cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def nested(self) -> None:
        with self._transaction(self._using), self._transaction(self._using):
            pass


@contextmanager
def with_psycopg(databases: Databases, stage: str, tenancy: Module) -> Iterator[Driver]:
    """A connection of psycopg."""
    with psycopg.connect(databases.url(stage), autocommit=True) as connection:
        yield Psycopg(connection, tenancy)


@contextmanager
def with_sqlalchemy(databases: Databases, stage: str, tenancy: Module) -> Iterator[Driver]:
    """A connection of SQLAlchemy."""
    driver = SQLAlchemy(databases.url(stage), tenancy)
    try:
        yield driver
    finally:
        driver.engine.dispose()


@contextmanager
def with_asyncpg(databases: Databases, stage: str, tenancy: Module) -> Iterator[Driver]:
    """A connection of asyncpg."""
    with asyncio.Runner() as runner:
        driver = Asyncpg(databases.url(stage), tenancy, runner)
        try:
            yield driver
        finally:
            driver.close()


@contextmanager
def with_django(databases: Databases, stage: str, tenancy: Module) -> Iterator[Driver]:
    """A connection of Django."""
    connections.settings = connections.configure_settings(databases.settings_of_django())
    try:
        yield Django(stage, tenancy)
    finally:
        connections[stage].close()


DRIVERS = [with_psycopg, with_sqlalchemy, with_asyncpg, with_django]
