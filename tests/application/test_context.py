"""Who the tenant is, by the document's TenantContext, and how a request says it."""

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.application.conftest import Named
from tests.application.document import blocks


def test_every_block_of_the_document_is_imported_by_a_test() -> None:
    tests = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    assert set(re.findall(r'named\("(\w+)"\)', tests)) == {name.removesuffix(".py") for name in blocks()}


@pytest.mark.parametrize("name", ["", "a b", "x" * 256, "acme\n", "acme'; --", "ä"])
def test_what_breaks_the_pattern_is_no_tenant(named: Named, name: str) -> None:
    with pytest.raises(ValueError, match="is no tenant"):
        named("tenancy").TenantContext(name)


def test_each_task_and_each_thread_has_its_own(named: Named) -> None:
    tenancy = named("tenancy")

    async def task(name: str, other: asyncio.Event, mine: asyncio.Event) -> str:
        with tenancy.acting_for(name):
            mine.set()
            await other.wait()
            return str(tenancy.current().tenant_id)

    async def both() -> list[str]:
        one, two = asyncio.Event(), asyncio.Event()
        return list(await asyncio.gather(task("acme", one, two), task("umbra", two, one)))

    assert asyncio.run(both()) == ["acme", "umbra"]
    seen: list[Any] = []
    with tenancy.acting_for("acme"):
        thread = threading.Thread(target=lambda: seen.append(tenancy.current()))
        thread.start()
        thread.join()
        with tenancy.acting_for("umbra"):
            assert tenancy.current().tenant_id == "umbra"
        assert tenancy.current().tenant_id == "acme"
    assert seen == [None]
    assert tenancy.current() is None


def _theirs(_request: Any, tenant: str) -> bool:
    return tenant == "acme"


@pytest.mark.parametrize(
    ("header", "status"),
    [("acme", "200 OK"), ("umbra", "403 Forbidden"), ("a b", "400 Bad Request"), (None, "400 Bad Request")],
)
def test_a_wsgi_request_acts_for_whom_it_may_and_for_nobody_else(
    named: Named, header: str | None, status: str
) -> None:
    tenancy, answered = named("tenancy"), list[str]()

    def application(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield tenancy.current().tenant_id.encode()

    environ = {} if header is None else {"HTTP_X_TENANT_ID": header}
    middleware = named("request_wsgi").TenantFromRequest(application, _theirs)
    body = middleware(environ, lambda status, _headers: answered.append(status))
    assert answered == [status]
    assert (body == [b"acme"]) == (header == "acme")
    assert tenancy.current() is None


@pytest.mark.parametrize(("header", "status"), [(b"acme", 200), (b"umbra", 403), (b"\xff", 400), (None, 400)])
def test_an_asgi_request_acts_for_whom_it_may_and_for_nobody_else(
    named: Named, header: bytes | None, status: int
) -> None:
    tenancy, sent, seen = named("tenancy"), list[Any](), list[Any]()

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(tenancy.current())
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    middleware = named("request_asgi").TenantFromRequest(application, _theirs)
    headers = [] if header is None else [(b"x-tenant-id", header)]
    asyncio.run(middleware({"type": "http", "headers": headers}, None, send))
    assert sent[0]["status"] == status
    assert [one.tenant_id for one in seen] == (["acme"] if status == 200 else [])
    asyncio.run(middleware({"type": "lifespan"}, None, send))
    assert seen[-1] is None
    if status != 200:
        asyncio.run(middleware({"type": "websocket", "headers": headers}, None, send))
        assert sent[-1]["type"] == "websocket.close"


def test_a_wsgi_answer_is_closed_as_a_server_would_close_it(named: Named) -> None:
    closed: list[bool] = []

    class Answer(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    middleware = named("request_wsgi").TenantFromRequest(lambda _environ, _start: Answer([b"x"]), _theirs)
    assert middleware({"HTTP_X_TENANT_ID": "acme"}, None) == [b"x"]
    assert closed == [True]
