"""An operator whose processes log in with roles of their own, with no right but what the script grants."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from control.embedded.postgres import EmbeddedPostgres
from tests.integration.addresses import free_port
from tests.integration.operating import TENANTRY, Operator
from tests.integration.typist import typed

#: Whose the application's tables are: a role without rights of its own, as which nobody logs in.
OWNER = "graph_owner"
CONTROLLER, WORKER, EXPORTER = "tenantry_controller", "tenantry_worker", "tenantry_exporter"
VERIFIER = "tenantry_verifier"
#: What is dropped with the database; the last is of a test that makes another.
_ROLES = [CONTROLLER, WORKER, EXPORTER, VERIFIER, OWNER, "somebody"]


@dataclass(frozen=True)
class Privileged(Operator):
    """Who types as the controller; `url` is the superuser's, for what tests look at."""

    database: str

    def url_of(self, role: str) -> str:
        """The database's address as a role sees it."""
        return self.server.url(self.database, role)

    def environment_of(self, role: str) -> dict[str, str]:
        """What a process of that role is told."""
        return self.environment | {"DATABASE_URL": self.url_of(role)}

    def as_(self, role: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type a command as a role."""
        return typed(arguments, folder=self.folder, environment=self.environment_of(role))

    def done_as(self, role: str, *arguments: str, status: int = 0) -> str:
        """Type a command as a role, which must end with that status; all that it said."""
        ended = self.as_(role, *arguments)
        assert ended.returncode == status, ended.stderr
        return ended.stdout + ended.stderr

    def rights(self) -> str:
        """Every right of the roles, as pg_dumpall and pg_dump write them."""
        roles = self.server.run(
            "pg_dumpall", "--roles-only", "--no-role-passwords", "--restrict-key=x"
        ).stdout
        return roles + self.schema()

    def script(self, *options: str) -> str:
        """What `roles --sql` writes, asked by the superuser."""
        ended = self.as_("postgres", "roles", "--sql", *options)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def run_script(self, text: str) -> None:
        """Run a script as psql does."""
        path = self.folder / "roles.sql"
        path.write_text(text)
        self.server.run("psql", "--no-psqlrc", "--quiet", f"--dbname={self.url}", f"--file={path}")

    @contextmanager
    def serving(self, role: str, *arguments: str) -> Iterator[int]:
        """A service as a role, for as long as the context lasts; the port on which it answers."""
        port = free_port()
        log = self.folder / f"{arguments[0]}.log"
        with (
            log.open("ab") as said,
            subprocess.Popen(
                [TENANTRY, *arguments],
                cwd=self.folder,
                env=self.environment_of(role) | {"TENANTRY_METRICS_PORT": str(port)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            ) as process,
        ):
            try:
                yield port
            finally:
                process.terminate()
                process.wait(30)


@contextmanager
def privileged(server: EmbeddedPostgres, template: str, folder: Path, queue: str) -> Iterator[Privileged]:
    """A copy of the sample that its owner without rights owns, and a plan that names the roles.

    Roles are the server's, and are gone at the end with the database.
    """
    name = "privileged"
    _operate(
        server,
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)),
        sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(OWNER)),
    )
    try:
        with psycopg.connect(server.url(name), autocommit=True) as connection:
            # Before 15 everybody may create there; docs/roles.md says so, and the script how to end it.
            connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            for table in ("graph_entities", "graph_relations"):
                connection.execute(
                    sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(table), sql.Identifier(OWNER))
                )
        operator = Privileged(folder, server.url(name), server, queue, name)
        written = operator.as_("postgres", "init")
        assert written.returncode == 0, written.stderr
        operator.edit('quiet = "10m"', 'quiet = "1s"')
        with operator.plan.open("a") as plan:
            plan.write(f'[roles]\n[redis]\nurl = "{queue}"\n[verify]\nrole = "{VERIFIER}"\n')
        yield operator
    finally:
        _operate(
            server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)), *_dropped(server)
        )


def _dropped(server: EmbeddedPostgres) -> list[sql.Composed]:
    with psycopg.connect(server.url()) as connection:
        asked = "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)"
        found = connection.execute(asked, [_ROLES]).fetchall()
    roles = [sql.Identifier(role) for (role,) in found]
    # A right to set a parameter is the server's, and would keep its role.
    return [
        sql.SQL("{} {}").format(sql.SQL(what), role)
        for role in roles
        for what in ("DROP OWNED BY", "DROP ROLE")
    ]


def _operate(server: EmbeddedPostgres, *statements: sql.Composed) -> None:
    with psycopg.connect(server.url(), autocommit=True) as operator:
        for statement in statements:
            operator.execute(statement)
