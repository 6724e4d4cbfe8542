"""The compose file and the image, as far as they can be read without a container engine."""

import re
from pathlib import Path

from worker.settings import WorkerSettings

REPOSITORY = Path(__file__).parents[2]
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


def test_every_image_is_pinned_to_a_version() -> None:
    images = re.findall(r"^\s+image: (\S+)$", COMPOSE, re.MULTILINE) + re.findall(
        r"^FROM (\S+)", DOCKERFILE, re.MULTILINE
    )
    assert images
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []


def test_every_variable_given_to_a_container_is_one_that_the_program_reads() -> None:
    given = set(re.findall(r"TENANTRY_[A-Z_]+", COMPOSE))
    source = "".join(
        path.read_text(encoding="utf-8")
        for part in ("control", "worker")
        for path in (REPOSITORY / part).rglob("*.py")
    )
    read = {f"TENANTRY_{field.upper()}" for field in WorkerSettings.model_fields}
    assert given
    assert {name for name in given if name not in source} <= read


def test_the_program_of_the_image_is_not_root() -> None:
    [user] = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert "0" not in user
