"""Logs: for machines and for people, and without passwords for both."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from worker.logs import configure, mask

_PASSWORDS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=6).filter(lambda p: "***" not in p)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@given(password=_PASSWORDS, scheme=st.sampled_from(["postgresql", "postgres", "redis", "rediss", "unix"]))
def test_the_password_of_an_address_is_masked(password: str, scheme: str) -> None:
    secret = quote(password, safe="")
    assert mask(f"to {scheme}://user:{secret}@host:1/db failed") == f"to {scheme}://user:***@host:1/db failed"


@pytest.mark.parametrize("secret", ["a@b", "a:b", "a/b", "a?b#c", "@@"])
def test_a_password_that_should_have_been_escaped_is_masked_whole(secret: str) -> None:
    assert mask(f"postgresql://user:{secret}@host/db") == "postgresql://user:***@host/db"


@given(password=_PASSWORDS)
def test_the_password_of_a_connection_string_is_masked(password: str) -> None:
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    assert mask(f"host=h password='{quoted}' user=u") == "host=h password=*** user=u"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=*** psql"),
        ("redis://:hunter2@host", "redis://:***@host"),
        ("ALTER ROLE bob PASSWORD 'hun''ter 2' LOGIN", "ALTER ROLE bob PASSWORD '***' LOGIN"),
        ("OPTIONS (user 'bob', password E'h\\'2')", "OPTIONS (user 'bob', password E'***')"),
        ("dblink('host=h password=''hunter 2'' user=u')", "dblink('host=h password=*** user=u')"),
        ('{"password": "hun\\"ter", "a": 1}', '{"password": "***", "a": 1}'),
        ("postgresql://host/db?password=hunter2", "postgresql://host/db?password=***"),
        ('password authentication failed for user "bob"', 'password authentication failed for user "bob"'),
        ("https://host:80/path", "https://host:80/path"),
    ],
)
def test_only_the_password_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@given(text=st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


def test_a_machine_reads_one_json_object_per_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    structlog.contextvars.bind_contextvars(migration="m", table="t", batch=7)
    structlog.get_logger("worker.batch").info("batch done", rows=100)
    (line,) = capfd.readouterr().err.splitlines()
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "batch done",
        "level": "info",
        "logger": "worker.batch",
        "migration": "m",
        "table": "t",
        "batch": 7,
        "rows": 100,
    }


def test_a_librarys_log_takes_the_same_form(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("dramatiq").warning("lost %s", "redis://:hunter2@h")
    event = json.loads(capfd.readouterr().err)
    assert (event["event"], event["logger"]) == ("lost redis://:***@h", "dramatiq")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [_Terminal(), io.StringIO()], ids=["readable", "JSON"])
def test_no_password_comes_into_a_log_by_any_way(stream: io.StringIO) -> None:
    configure(stream=stream)
    url = "postgresql://u:hunter2@h/d"
    structlog.contextvars.bind_contextvars(server=url)
    log = structlog.get_logger("x")
    try:
        int(url)
    except ValueError as error:
        log.exception("failed %s", url, deep={"list": [url, (url,)], "db_password": "hunter2"}, error=error)
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count("u:***@h") >= 5


def test_a_person_on_a_terminal_reads_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure()
    structlog.get_logger("x").info("hello", rows=3)
    assert "hello" in terminal.getvalue()
    assert "{" not in terminal.getvalue()


def test_a_log_line_goes_to_what_stderr_is_now(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure()
    display = io.StringIO()
    monkeypatch.setattr(sys, "stderr", display)
    structlog.get_logger("x").info("hello")
    assert json.loads(display.getvalue())["event"] == "hello"
    assert capfd.readouterr().err == ""


def test_a_log_line_that_nobody_can_take_stops_nothing() -> None:
    with io.FileIO("/dev/full", "w") as full, io.TextIOWrapper(full, write_through=True) as stream:
        configure(stream=stream)
        with pytest.raises(OSError, match="No space left"):
            stream.write("tried")
        structlog.get_logger("x").info("hello")
