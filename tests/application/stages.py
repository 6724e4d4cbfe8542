"""The stages that the document's code has to run at."""

from dataclasses import dataclass

from control.embedded.postgres import EmbeddedPostgres

#: No column; the column, with no row filled; every row filled, and both keys; the new key, and policies that
#: show sessions without a tenant the legacy one; such that show them nothing; the write guard gone.
STAGES = ("unmigrated", "unfilled", "halfway", "permissive", "strict", "verified")
MIGRATED = STAGES[3:]


@dataclass(frozen=True)
class Databases:
    """The databases of one server, a stage each."""

    postgres: EmbeddedPostgres

    def name(self, stage: str) -> str:
        """The name of a stage's database."""
        return f"application_{stage}"

    def url(self, stage: str) -> str:
        """Its address for the application, whose role is held by row-level security."""
        return self.postgres.url(self.name(stage), "graph_app")

    def settings_of_django(self) -> dict[str, dict[str, object]]:
        """Every stage's database under its name, for Django."""
        return {"default": {}} | {
            stage: {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": self.name(stage),
                "USER": "graph_app",
                "HOST": str(self.postgres.folder),
                "PORT": self.postgres.port,
            }
            for stage in STAGES
        }
