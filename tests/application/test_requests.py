"""The tenant of a request: named by its header, and believed only of a caller who may act for it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

Module = Callable[[str], ModuleType]
#: What a request answers: its status, and its text.
Answer = tuple[int, str]
#: Answer a request of the user with these headers.
Ask = Callable[[str, list[str]], Answer]

_GRANTS = {("ann", "acme"), ("bob", "other")}


def ask_wsgi(tenancy: Module) -> Ask:
    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [tenancy("context").required().tenant_id.encode()]

    def ask(user: str, tenants: list[str]) -> Answer:
        guarded = tenancy("wsgi").TenantOfRequest(
            app, lambda environ, tenant: (environ["REMOTE_USER"], tenant) in _GRANTS
        )
        environ: dict[str, Any] = {"REMOTE_USER": user}
        setup_testing_defaults(environ)
        if tenants:
            environ["HTTP_X_TENANT_ID"] = ",".join(tenants)  # as PEP 3333 has it of a header that comes twice
        answered: list[int] = []
        body = guarded(environ, lambda status, _: answered.append(int(status.split()[0])))
        return answered[0], b"".join(body).decode()

    return ask


async def answered_asgi(
    tenancy: Module, app: Callable[..., Awaitable[None]], scope: dict[str, Any]
) -> list[dict[str, Any]]:
    async def may_act_for(scope: dict[str, Any], tenant: str) -> bool:
        return (scope["user"], tenant) in _GRANTS

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    await tenancy("asgi").TenantOfRequest(app, may_act_for)(scope, receive, send)
    return sent


def ask_asgi(tenancy: Module) -> Ask:
    async def app(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": tenancy("context").required().tenant_id.encode()})

    def ask(user: str, tenants: list[str]) -> Answer:
        headers = [(b"x-tenant-id", tenant.encode()) for tenant in tenants]
        scope = {"type": "http", "user": user, "headers": headers}
        start, body = asyncio.run(answered_asgi(tenancy, app, scope))
        return start["status"], body["body"].decode()

    return ask


def django_middleware(tenancy: Module, view: Callable[[HttpRequest], HttpResponse]) -> Any:
    class Middleware(tenancy("django_middleware").TenantMiddleware):  # type: ignore[misc]  # a snippet's, so Any
        def may_act_for(self, request: HttpRequest, tenant_id: str) -> bool:
            return (request.META["REMOTE_USER"], tenant_id) in _GRANTS

    return Middleware(view)


def ask_django(tenancy: Module) -> Ask:
    def view(_: HttpRequest) -> HttpResponse:
        return HttpResponse(tenancy("context").required().tenant_id)

    def ask(user: str, tenants: list[str]) -> Answer:
        headers = {"X-Tenant-ID": ",".join(tenants)} if tenants else {}
        request = RequestFactory().get("/", headers=headers, REMOTE_USER=user)
        response = django_middleware(tenancy, view)(request)
        return response.status_code, response.content.decode()

    return ask


pytestmark = pytest.mark.usefixtures("django_ready")


@pytest.fixture(params=[ask_wsgi, ask_asgi, ask_django])
def ask(request: pytest.FixtureRequest, tenancy: Module) -> Ask:
    """Ask an application behind one of the document's middlewares."""
    made: Ask = request.param(tenancy)
    return made


def test_a_request_works_for_the_tenant_that_it_names_and_afterwards_nobody_does(
    ask: Ask, tenancy: Module
) -> None:
    assert ask("ann", ["acme"]) == (200, "acme")
    assert ask("bob", ["other"]) == (200, "other")
    assert tenancy("context").current() is None


@pytest.mark.parametrize("tenants", [[], [""], ["a b"], ["acme\n"], ["acme", "other"], ["acme", "acme"]])
def test_a_header_that_is_missing_malformed_or_given_twice_is_a_bad_request(
    ask: Ask, tenants: list[str]
) -> None:
    status, told = ask("ann", tenants)
    assert (status, "missing or malformed" in told) == (400, True)


def test_the_header_alone_opens_nothing_and_tells_nothing_of_who_is_a_tenant(ask: Ask) -> None:
    assert ask("ann", ["other"]) == ask("ann", ["nobody"]) == (403, "not a tenant of yours\n")


def test_an_answer_of_wsgi_that_is_made_late_is_made_for_the_tenant_and_closed_for_it(
    tenancy: Module,
) -> None:
    context = tenancy("context")
    closed: list[str] = []

    class Late:
        def __iter__(self) -> Iterator[bytes]:
            yield context.required().tenant_id.encode()
            yield context.required().tenant_id.encode()

        def close(self) -> None:
            closed.append(context.required().tenant_id)

    guarded = tenancy("wsgi").TenantOfRequest(lambda *_: Late(), lambda *_: True)
    body = guarded({"HTTP_X_TENANT_ID": "acme"}, lambda *_: None)
    seen = []
    for chunk in body:
        assert context.current() is None, "the server's own thread works for nobody"
        seen.append(chunk)
    body.close()
    assert (seen, closed) == ([b"acme", b"acme"], ["acme"])


def test_an_application_of_asgi_starts_and_stops_without_a_tenant(tenancy: Module) -> None:
    started: list[str] = []

    async def app(scope: dict[str, Any], *_: Any) -> None:
        started.append(scope["type"])

    assert asyncio.run(answered_asgi(tenancy, app, {"type": "lifespan"})) == []
    assert started == ["lifespan"]


def test_a_websocket_without_a_right_to_its_tenant_is_closed_before_it_is_accepted(tenancy: Module) -> None:
    async def app(_scope: dict[str, Any], _receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    def sent(tenant: bytes) -> list[dict[str, Any]]:
        scope = {"type": "websocket", "user": "ann", "headers": [(b"x-tenant-id", tenant)]}
        return asyncio.run(answered_asgi(tenancy, app, scope))

    assert sent(b"acme") == [{"type": "websocket.accept"}]
    assert sent(b"other") == sent(b"") == [{"type": "websocket.close", "code": 1008}]


def test_django_makes_a_streamed_answer_without_a_tenant(tenancy: Module) -> None:
    context = tenancy("context")
    view = lambda _: StreamingHttpResponse(context.required().tenant_id for _ in "x")  # noqa: E731
    request = RequestFactory().get("/", headers={"X-Tenant-ID": "acme"}, REMOTE_USER="ann")
    response = django_middleware(tenancy, view)(request)
    with pytest.raises(context.NoTenantError):
        list(response.streaming_content)
