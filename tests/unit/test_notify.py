"""What a webhook is sent, how it is signed, and what is never said of it."""

import re
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from tenacity import RetryCallState, Retrying

from control.notify import sender, signature, webhook
from control.notify.message import LONGEST, Message, slack, trial
from control.notify.webhook import Webhook, webhook_of
from control.plan.model import Plan
from control.plan.notify import KINDS
from control.plan.reading import read_plan
from control.plan.writing import toml
from control.preflight import webhook as preflight
from sql.errors import GivenWrongError, NotDeliveredError, PlanError, RefusedError
from tests.integration.receiving import receiving

_DOCUMENT = Path(__file__).parents[2] / "docs" / "notifications.md"


def _plan(**notify: Any) -> Plan:
    return Plan.model_validate(
        {
            "name": "m",
            "database": {"url": "postgresql://localhost/m"},
            "tables": [{"name": "t", "tenant": {"constant": "a"}}],
            "notify": {"url": "https://example.com/secret-path"} | notify,
        }
    )


def test_a_message_is_signed_as_the_standards_own_example_is() -> None:
    body = b'{"test": 2432232314}'
    told = signature.headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body
    )
    assert told["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "any text, ünd more"])
def test_the_documents_own_code_takes_what_is_signed_and_nothing_else(secret: str) -> None:
    code = re.search(r"```python\n(.*?)```", _DOCUMENT.read_text(), re.DOTALL)
    assert code is not None
    scope: dict[str, Any] = {}
    exec(code[1], scope)
    now = int(time.time())
    signed = signature.headers(secret, "id", now, b"body")
    assert scope["is_genuine"](signed, b"body", secret)
    assert not scope["is_genuine"](signed, b"bodies", secret)
    assert not scope["is_genuine"](signed | {"webhook-id": "other"}, b"body", secret)
    assert not scope["is_genuine"](signed, b"body", "another")
    assert not scope["is_genuine"](signature.headers(secret, "id", now - 600, b"body"), b"body", secret)


def test_a_message_without_a_secret_is_not_signed() -> None:
    assert set(signature.headers(None, "id", 1, b"")) == {"webhook-id", "webhook-timestamp"}


def test_the_documents_example_is_a_message_and_its_plan_is_one() -> None:
    text = _DOCUMENT.read_text()
    example = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    table = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    assert table is not None
    message = Message.model_validate_json(example[1], strict=False)
    assert set(message.model_dump()) == set(Message.model_fields)
    assert all(f"| `{kind}` |" in text for kind in KINDS)


def test_the_documents_plan_says_the_defaults(tmp_path: Path) -> None:
    table = re.search(r"```toml\n(.*?)```", _DOCUMENT.read_text(), re.DOTALL)
    assert table is not None
    file = tmp_path / "migration.toml"
    file.write_text(toml(_plan()).split("[notify]")[0] + table[1].replace("[notify]", "[notify]", 1))
    text = file.read_text()
    tables = toml(_plan()).split("[[tables]]")[1]
    file.write_text(f"{text}\n[[tables]]{tables}")
    notify = read_plan(file).notify
    assert notify is not None
    assert notify.model_copy(update={"secret": None}) == _plan(url="env:NOTIFY_URL").notify


def _message(text: str, **more: Any) -> Message:
    return Message(
        id="1", migration="m", kind="gate", at=datetime.now(UTC), actor="me@here", message=text, **more
    )


def test_slacks_form_lets_no_markup_of_a_message_through() -> None:
    told = slack(_message("<!channel> a & b > c", next="`tenantry run` <now>"))
    shown = str(told)
    assert "&lt;!channel&gt; a &amp; b &gt; c" in told["text"]
    assert "<" not in shown
    assert "&lt;now&gt;" in shown


def test_slacks_form_says_once_what_to_do_next() -> None:
    told = slack(_message("rls waits: no quiet. `tenantry confirm rls`", next="`tenantry confirm rls`"))
    assert str(told["blocks"]).count("tenantry confirm rls") == 1
    assert "Next: mend" in str(slack(_message("broken", next="mend")))


def test_a_section_of_slacks_is_shorter_than_it_takes() -> None:
    told = slack(_message("x" * LONGEST, next="y" * 400))
    assert len(told["blocks"][0]["text"]["text"]) < 3_000


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "https:///x", "example.com/x", "https://host:port/x", "https://a b/x", "http://[::1"],
)
def test_an_address_that_is_none_is_refused_without_being_shown(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(toml(_plan()).replace("https://example.com/secret-path", url))
    with pytest.raises(PlanError) as refused:
        read_plan(file)
    assert url not in str(refused.value)
    assert refused.value.line == toml(_plan()).splitlines().index("[notify]") + 2
    monkeypatch.setenv("HOOK", url)
    with pytest.raises(GivenWrongError, match="url: the address") as unusable:
        webhook_of(_plan(url="env:HOOK"))
    assert url not in str(unusable.value)


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    with pytest.raises(GivenWrongError, match="webhook's address from \\$HOOK"):
        webhook_of(_plan(url="env:HOOK"))
    with pytest.raises(GivenWrongError, match="webhook's secret from \\$HOOK"):
        webhook_of(_plan(secret="env:HOOK"))
    (finding,) = preflight.look(_plan(url="env:HOOK"))
    assert finding.level == "stop"


def test_a_secret_that_is_no_base64_is_refused_without_being_shown() -> None:
    with pytest.raises(GivenWrongError, match="whsec_ is no base64") as refused:
        webhook_of(_plan(secret="whsec_%%%hidden"))
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("https://example.com/x", "pass"),
        ("http://example.com/x", "warn"),
        ("http://127.0.0.1:8080/x", "pass"),
        ("http://[::1]/x", "pass"),
        ("http://localhost/x", "pass"),
    ],
)
def test_what_crosses_a_network_in_the_clear_is_warned_of(url: str, level: str) -> None:
    (finding,) = preflight.look(_plan(url=url))
    assert finding.level == level
    assert "/x" not in finding.fact


def test_what_can_be_shown_of_a_webhook_holds_no_path_no_password_and_no_secret() -> None:
    hook = Webhook("https://me:word@example.com:8443/secret-path?token=t", "json", "key")
    assert hook.where == "https://example.com:8443"
    assert not {"secret-path", "word", "token", "key"} & set(re.findall(r"[\w-]+", repr(hook)))


def test_a_password_of_the_address_is_sent_as_its_header() -> None:
    with receiving() as receiver:
        for written in ("me:word@", "m%40e:w%2Förd@"):
            url = receiver.url.replace("http://", f"http://{written}")
            Webhook(url, "json", None).send(trial("m", "me"))
    headers = [b64decode(got.headers["authorization"].removeprefix("Basic ")) for got in receiver.got]
    assert headers == [b"me:word", "m@e:w/örd".encode()]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_be_otherwise_the_next_time_is_tried_again(status: int) -> None:
    with (
        receiving(lambda _got: status) as receiver,
        pytest.raises(NotDeliveredError, match=str(status)) as error,
    ):
        Webhook(receiver.url, "json", None).send(trial("m", "me"))
    assert "PATH-SECRET" not in str(error.value)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
def test_what_will_not_be_otherwise_is_refused_and_no_redirect_is_followed(status: int) -> None:
    with receiving() as elsewhere, receiving(lambda _got: status) as receiver:
        receiver.more["location"] = elsewhere.url
        with pytest.raises(RefusedError, match=str(status)):
            Webhook(receiver.url, "json", None).send(trial("m", "me"))
    assert len(receiver.got) == 1
    assert elsewhere.got == []


def test_a_receiver_that_asks_for_time_gets_it() -> None:
    with receiving(lambda _got: 429) as receiver:
        receiver.more["retry-after"] = "120"
        with pytest.raises(NotDeliveredError) as error:
            Webhook(receiver.url, "json", None).send(trial("m", "me"))
    assert error.value.after == 120
    assert _wait_after(error.value, 1) == 120


def test_the_time_that_a_receiver_asks_for_may_be_a_date_and_is_never_longer_than_five_minutes() -> None:
    asked = {formatdate(time.time() + 120, usegmt=True): (100, 120), "7200": (300, 300), "soon": (0, 0)}
    with receiving(lambda _got: 429) as receiver:
        for after, (least, most) in (asked | {"9" * 5_000: (0, 300)}).items():
            receiver.more["retry-after"] = after
            with pytest.raises(NotDeliveredError) as error:
                Webhook(receiver.url, "json", None).send(trial("m", "me"))
            assert least <= error.value.after <= most


@contextmanager
def _endless() -> Iterator[int]:
    """A receiver that goes on saying that there is more to come, until it is cut off."""

    def answer() -> None:
        with server.accept()[0] as connection:
            try:
                while connection.recv(65_536):
                    while True:
                        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_an_answer_without_an_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "WHOLE", 0.2)
    with _endless() as port, pytest.raises(NotDeliveredError, match="no whole answer within"):
        Webhook(f"http://127.0.0.1:{port}/x", "json", None).send(trial("m", "me"))


def _wait_after(error: NotDeliveredError, attempt: int) -> float:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.set_exception((type(error), error, None))
    return sender._wait(state)


def test_attempts_come_ever_later_and_at_least_once_a_minute() -> None:
    error = NotDeliveredError("there", "nobody")
    waits = [_wait_after(error, attempt) for attempt in range(1, 20)]
    assert all(1 <= wait <= 60 for wait in waits)
    assert waits[-1] == 60
    assert waits[0] < waits[4] < waits[-1]


def test_nobody_who_listens_is_said_without_the_path() -> None:
    with receiving() as receiver:
        url = receiver.url
    with pytest.raises(NotDeliveredError, match="nobody listens there") as error:
        Webhook(url, "json", None).send(trial("m", "me"))
    assert "PATH-SECRET" not in str(error.value)


def test_an_address_of_tls_where_there_is_none_is_an_error_of_tls() -> None:
    with receiving() as receiver, pytest.raises(NotDeliveredError, match="TLS") as error:
        Webhook(receiver.url.replace("http:", "https:"), "json", None).send(trial("m", "me"))
    assert "PATH-SECRET" not in str(error.value)


def test_the_proxy_of_the_environment_is_taken_unless_the_host_is_none_of_its(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiving() as proxy:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for written in ("http://", "", "http://me:w%40rd@"):
            monkeypatch.setenv("http_proxy", f"{written}127.0.0.1:{proxy.port}")
            Webhook("http://hooks.invalid/x", "json", None).send(trial("m", "me"))
        assert [got.path for got in proxy.got] == ["http://hooks.invalid/x"] * 3
        assert b64decode(proxy.got[2].headers["proxy-authorization"].removeprefix("Basic ")) == b"me:w@rd"
        with receiving() as receiver:
            Webhook(receiver.url, "json", None).send(trial("m", "me"))
            assert len(receiver.got) == 1
    assert len(proxy.got) == 3
