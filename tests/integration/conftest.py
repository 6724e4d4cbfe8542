"""What several of these tests begin from."""

from pathlib import Path

import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.proposal import propose
from sql.postgres.connection import connect
from tests.integration.operating import Operator


@pytest.fixture
def operator(
    tmp_path: Path,
    sample: str,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    """An operator who has just written a plan."""
    monkeypatch.setenv("DATABASE_URL", sample)
    with connect(sample, "init") as connection:
        proposed = propose(connection, url="env:DATABASE_URL")
    (tmp_path / "migration.toml").write_text(proposed.replace('quiet = "10m"', 'quiet = "1s"'))
    return Operator(tmp_path, sample, postgres, valkey.url)
