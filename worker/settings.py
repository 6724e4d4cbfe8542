"""What a worker process is told by its environment; everything else it reads from the ledger."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """`TENANTRY_…` variables.

    Both addresses may hold a password, which is why they come by the environment and not as arguments:
    other users of the host can read those.
    """

    model_config = SettingsConfigDict(env_prefix="TENANTRY_")

    database_url: SecretStr
    redis_url: SecretStr
    namespace: str = "tenantry"
    """Prefix of every key in Redis: two databases may share a server."""
    supervisor_pid: int | None = Field(default=None)
    """Whose end is this worker's end; set by the process that starts workers."""
