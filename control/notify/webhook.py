"""One webhook: where it is, and one attempt to send it something."""

import ipaddress
import json
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.util import Timeout, Url, make_headers, parse_url

from control.notify import signature
from control.notify.message import Message, slack
from control.plan.model import Plan
from control.plan.notify import Form, wrong_with
from sql.errors import GivenWrongError, NotDeliveredError, RefusedError
from sql.postgres.connection import resolve

#: Seconds that an answer is waited for.
CONNECT, READ = 3.0, 5.0
#: What may be otherwise the next time; every other status that is no success is not tried again.
_AGAIN = frozenset({408, 425, 429})
#: Seconds of a `Retry-After` that are obeyed, at most.
_LONGEST_AFTER = 300.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where messages go. Its address and its secret are shown nowhere: `where` is what may be."""

    url: str = field(repr=False)
    form: Form
    secret: str | None = field(repr=False)

    @property
    def where(self) -> str:
        """Scheme, host and port: the path of a Slack webhook is its password."""
        parts = parse_url(self.url)
        return Url(scheme=parts.scheme, host=parts.host, port=parts.port).url

    @property
    def is_readable(self) -> bool:
        """Whether messages cross a network in the clear."""
        parts = parse_url(self.url)
        return parts.scheme == "http" and not _is_loopback(parts.host or "")

    def send(self, message: Message) -> int:
        """Send a message; the status of the answer, which is one of success. Redirects are not followed.

        Raises:
            RefusedError: an answer that will be the same the next time.
            NotDeliveredError: no answer, or one that may be otherwise the next time.
        """
        told = slack(message) if self.form == "slack" else message.model_dump(mode="json")
        body = json.dumps(told, ensure_ascii=False).encode()
        try:
            with _pool(self.url) as pool:
                answer = pool.request(
                    "POST",
                    self.url,
                    body=body,
                    headers=self._headers(message.id, body),
                    timeout=Timeout(connect=CONNECT, read=READ),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # Its text has the path of the address in it.
            raise NotDeliveredError(self.where, _why(error)) from None
        return self._judged(answer.status, answer.headers.get("retry-after", ""))

    def _judged(self, status: int, after: str) -> int:
        if 200 <= status < 300:
            return status
        if status in _AGAIN or status >= 500:
            wait = min(float(after), _LONGEST_AFTER) if after.isdecimal() else 0.0
            raise NotDeliveredError(self.where, _said(status), after=wait)
        raise RefusedError(self.where, _said(status))

    def _headers(self, id_: str, body: bytes) -> dict[str, str]:
        auth = parse_url(self.url).auth
        return {
            "content-type": "application/json",
            "user-agent": f"tenantry/{version('tenantry')}",
            **(make_headers(basic_auth=auth) if auth else {}),
            **signature.headers(self.secret, id_, int(time.time()), body),
        }


def webhook_of(plan: Plan) -> Webhook | None:
    """The webhook of a plan; None where it has none.

    Raises:
        GivenWrongError: a variable is not set, or what is in it is no address or no secret.
    """
    if plan.notify is None:
        return None
    url = resolve(plan.notify.url.get_secret_value(), "the webhook's address")
    if (wrong := wrong_with(url)) is not None:
        raise GivenWrongError(f"[notify] url: the address {wrong}; it is like https://host/path")
    if plan.notify.secret is None:
        return Webhook(url, plan.notify.form, None)
    secret = resolve(plan.notify.secret.get_secret_value(), "the webhook's secret")
    try:
        signature.key(secret)
    except ValueError as error:
        raise GivenWrongError(f"[notify] secret: {error}") from None
    return Webhook(url, plan.notify.form, secret)


def _pool(url: str) -> urllib3.PoolManager:
    """What connects: by the proxy of the environment, as other programs there do."""
    parts, proxies = parse_url(url), getproxies()
    proxy = proxies.get(parts.scheme or "", proxies.get("all"))
    if proxy is None or proxy_bypass(parts.host or ""):
        return urllib3.PoolManager()
    auth = parse_url(proxy).auth
    return urllib3.ProxyManager(proxy, proxy_headers=make_headers(proxy_basic_auth=auth) if auth else None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _said(status: int) -> str:
    try:
        told = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        told = str(status)
    return f"{told}, and redirects are not followed" if 300 <= status < 400 else told


def _why(error: Exception) -> str:
    """What went wrong, without the address."""
    match error:
        case urllib3.exceptions.NameResolutionError():
            return "its name is not known"
        case urllib3.exceptions.NewConnectionError():  # one of the next kind
            return "nobody listens there"
        case urllib3.exceptions.ConnectTimeoutError():
            return f"no connection within {CONNECT:g} s"
        case urllib3.exceptions.ReadTimeoutError():
            return f"no answer within {READ:g} s"
        case urllib3.exceptions.SSLError():
            return "its certificate is not accepted, or TLS failed"
        case urllib3.exceptions.ProxyError():
            return "the proxy of the environment does not let it through"
        case urllib3.exceptions.ProtocolError():
            return "the connection broke off"
        case _:
            return type(error).__name__
