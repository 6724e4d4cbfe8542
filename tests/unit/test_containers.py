"""The compose file and the image, held against the code that they start; no container engine is needed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import typer

from control import cli, worker_pool
from control.plan.reading import read_plan
from control.plan.values import seconds
from tests.containers import (
    COMPOSE,
    PASSWORDS,
    REPOSITORY,
    mounts,
    ours,
    read_yaml,
    services,
    words,
)
from tests.dockerfile import context

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
PROMETHEUS = read_yaml(REPOSITORY / "grafana/prometheus.yml")
PROVISIONING = REPOSITORY / "grafana/provisioning"
#: What the image of PostgreSQL reads; everything else that it is given is named in what we have it run.
OF_POSTGRES = {"POSTGRES_DB", "POSTGRES_PASSWORD"}

_PROGRAM = shutil.which("docker-compose")


def command_of(service: dict[str, Any]) -> Any:
    """The command of the program that a service runs, as typer has it."""
    found = typer.main.get_command(cli._application(words(service)))
    for word in words(service):
        found = found.commands[word]  # type: ignore[attr-defined]  # a group has them
    return found


def of_libpq() -> set[str]:
    return {option.envvar.decode() for option in psycopg.pq.Conninfo.get_defaults() if option.envvar}


def plan_of(service: dict[str, Any]) -> Path:
    """The plan that a service reads by default: migration.toml where it stands."""
    [folder] = re.findall(r"^WORKDIR (/plan)$", DOCKERFILE, re.MULTILINE)
    return mounts(service)[f"{folder}/migration.toml"]


def test_every_image_is_pinned_to_a_version() -> None:
    images = [each["image"] for each in services().values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert images
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []


def test_the_file_is_one_by_the_schema_of_compose_files() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, COMPOSE],
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def _configured(folder: Path, *files: Path, without: str | None = None) -> subprocess.CompletedProcess[str]:
    """What Debian's program makes of the file, every service of it."""
    if _PROGRAM is None:
        missing = "docker-compose is not installed: apt-get install --no-install-recommends docker-compose"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    profiles = {profile for each in services().values() for profile in each.get("profiles", [])}
    (folder / "none.env").touch()  # in place of the developer's own .env
    return subprocess.run(
        [
            *(_PROGRAM, "--project-directory", REPOSITORY, "--env-file", folder / "none.env"),
            *(part for file in (COMPOSE, *files) for part in ("--file", file)),
            *(part for profile in profiles for part in ("--profile", profile)),
            "config",
        ],
        env={"PATH": os.environ["PATH"]} | {name: "x" for name in PASSWORDS if name != without},
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.full
def test_docker_compose_takes_the_file_as_it_is_read_here(tmp_path: Path) -> None:
    configured = _configured(tmp_path)
    assert configured.returncode == 0, configured.stderr
    (tmp_path / "configured.yml").write_text(configured.stdout)
    found = read_yaml(tmp_path / "configured.yml")["services"]
    assert found.keys() == services().keys()
    for name, service in services().items():
        assert found[name].get("command", []) == words(service), name


@pytest.mark.full
@pytest.mark.parametrize("name", PASSWORDS)
def test_without_one_of_the_passwords_docker_compose_names_it(name: str, tmp_path: Path) -> None:
    refused = _configured(tmp_path, without=name)
    assert refused.returncode != 0
    assert name in refused.stderr


@pytest.mark.full
def test_the_document_s_file_for_a_database_of_your_own_is_taken(tmp_path: Path) -> None:
    document = (REPOSITORY / "docs/containers.md").read_text(encoding="utf-8")
    [override] = re.findall(r"```yaml\n(.*?)```", document, re.DOTALL)
    (tmp_path / "override.yml").write_text(override)
    configured = _configured(tmp_path, tmp_path / "override.yml")
    assert configured.returncode == 0, configured.stderr
    assert "@db.internal" in configured.stdout


def test_every_service_that_a_document_names_is_there() -> None:
    text = COMPOSE.read_text() + (REPOSITORY / "docs/containers.md").read_text(encoding="utf-8")
    named = re.findall(r"compose (?:run --rm|run --no-deps --rm|logs --follow|stop) (\w+)", text)
    named += re.findall(r"--scale (\w+)=", text)
    for listed in re.findall(r"up --detach --no-deps ([a-z ]+)$", text, re.MULTILINE):
        named += listed.split()
    assert named
    assert set(named) <= services().keys()
    profiles = {profile for each in services().values() for profile in each.get("profiles", [])}
    assert set(re.findall(r"--profile (\w+)", text)) <= profiles


@pytest.mark.parametrize("name", [name for name, each in ours().items() if "command" in each])
def test_every_command_is_one_of_the_program_and_every_variable_one_that_it_reads(name: str) -> None:
    service = ours()[name]
    command = command_of(service)
    options = {option.name: option for option in command.params}
    read = {option.envvar for option in options.values() if option.envvar}
    plan = read_plan(plan_of(service))
    told = [plan.database.url, *([plan.redis.url] if plan.redis and "workers" in options else [])]
    addresses = {address.get_secret_value() for address in told} if "file" in options else set()
    if "database" in options:
        addresses.add(options["database"].default)
    named = {address.removeprefix("env:") for address in addresses}
    given = set(service["environment"])
    assert named <= given
    assert given <= read | named | of_libpq()


def test_the_operator_s_commands_are_given_every_address_of_the_plan() -> None:
    service = services()["tenantry"]
    plan = read_plan(plan_of(service))
    told = [plan.database.url, *plan.database.standbys, *([plan.redis.url] if plan.redis else [])]
    named = {address.get_secret_value().removeprefix("env:") for address in told}
    assert named == set(service["environment"]) - of_libpq()


def test_each_process_logs_in_as_the_role_that_the_plan_names_for_it() -> None:
    roles = read_plan(plan_of(services()["tenantry"])).roles
    assert roles is not None
    logins = {name: urlsplit(each["environment"]["DATABASE_URL"]).username for name, each in ours().items()}
    expected = {"tenantry": roles.controller, "worker": roles.worker, "exporter": roles.exporter}
    assert logins == expected | {"sample": "graph_owner", "application": "graph_app"}
    passwords = [each["environment"]["PGPASSWORD"] for each in ours().values()]
    assert len(set(passwords)) == len(passwords)


def test_the_database_s_variables_are_read_by_what_runs_there() -> None:
    for name in ("postgres", "standby"):
        service = services()[name]
        given = set(service["environment"]) - OF_POSTGRES - of_libpq()
        assert [each for each in given if each not in service["entrypoint"][2]] == []


def test_everything_that_is_mounted_is_there() -> None:
    mounted = [path for each in services().values() for path in mounts(each).values()]
    assert mounted
    assert [path for path in mounted if not path.exists()] == []


def test_prometheus_asks_the_ports_on_which_worker_and_exporter_answer() -> None:
    port = {name: int(services()[name]["environment"]["TENANTRY_METRICS_PORT"]) for name in ours_served()}
    jobs = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    [of_workers] = jobs["tenantry-worker"]["dns_sd_configs"]
    assert (of_workers["names"], of_workers["type"], of_workers["port"]) == (["worker"], "A", port["worker"])
    assert jobs["tenantry-exporter"]["static_configs"] == [{"targets": [f"exporter:{port['exporter']}"]}]
    exporter = {option.name: option for option in command_of(services()["exporter"]).params}
    assert exporter["port"].default == port["exporter"]


def ours_served() -> list[str]:
    """The services of ours that answer."""
    return [name for name, each in ours().items() if "healthcheck" in each]


def test_who_is_looked_after_is_asked_for_its_health_on_its_own_port() -> None:
    assert ours_served() == ["worker", "exporter"]
    for name in ours_served():
        [url] = re.findall(r"'(http\S+)'", services()[name]["healthcheck"]["test"][-1])
        port = services()[name]["environment"]["TENANTRY_METRICS_PORT"]
        assert url == f"http://127.0.0.1:{port}/healthz"
    assert {name for name, each in services().items() if "healthcheck" not in each} == {
        *("tenantry", "sample", "application")
    }


def test_grafana_finds_prometheus_and_its_dashboards_where_they_are() -> None:
    [source] = read_yaml(PROVISIONING / "datasources/prometheus.yml")["datasources"]
    url = urlsplit(source["url"])
    assert url.hostname in services()
    assert services()[url.hostname]["ports"] == [f"127.0.0.1:{url.port}:{url.port}"]
    seen = mounts(services()["grafana"])
    assert seen["/etc/grafana/provisioning"] == PROVISIONING
    for file in (PROVISIONING / "dashboards").glob("*.y*ml"):
        for provider in read_yaml(file)["providers"]:
            assert seen[provider["options"]["path"]] == REPOSITORY / "grafana/dashboards"


def test_prometheus_reads_its_files_where_they_are() -> None:
    seen = mounts(services()["prometheus"])
    options = dict(word.removeprefix("--").split("=") for word in words(services()["prometheus"]))
    config = Path(options["config.file"])
    assert seen[str(config)] == REPOSITORY / "grafana/prometheus.yml"
    assert "storage.tsdb.retention.time" in options
    assert f"prometheus:{options['storage.tsdb.path']}" in services()["prometheus"]["volumes"]
    for rules in PROMETHEUS.get("rule_files", []):
        assert seen[str(config.parent / rules)] == REPOSITORY / "grafana" / rules


def test_a_build_is_sent_nothing_but_what_it_copies() -> None:
    copied = {
        source
        for words in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in words.split()
    }
    sent = context(REPOSITORY)
    assert {path.parts[0] for path in sent} == copied
    assert [path for path in sent if "__pycache__" in path.parts or path.name.startswith(".")] == []


def test_a_worker_has_longer_to_stop_than_its_pool_waits() -> None:
    for name, service in ours().items():
        assert seconds(service["stop_grace_period"]) > worker_pool._STOP_WITHIN + 5, name


def test_workers_can_be_as_many_as_one_likes() -> None:
    assert not {"ports", "container_name"} & services()["worker"].keys()


def test_nobody_but_this_machine_gets_in_and_nobody_without_a_password() -> None:
    published = [port for each in services().values() for port in each.get("ports", [])]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []
    grafana = services()["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ENABLED"] == grafana["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert grafana["GF_SECURITY_ADMIN_PASSWORD"] == PASSWORDS["GRAFANA_PASSWORD"]
    # Required, in every place: what is not given must stop Compose and not become an empty password.
    asked = re.findall(r"\$\{(\w+_PASSWORD)([^}]*)\}", COMPOSE.read_text())
    assert {name for name, _ in asked} == PASSWORDS.keys()
    assert [how for _, how in asked if not how.startswith(":?")] == []


def test_the_program_has_no_rights_and_writes_nowhere() -> None:
    [user] = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert "0" not in user
    for service in ours().values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    assert all(each["security_opt"] == ["no-new-privileges:true"] for each in services().values())
