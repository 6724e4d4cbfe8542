"""One webhook: where it is, and one attempt to send it something."""

import base64
import ipaddress
import json
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.util import Retry, Timeout, Url, parse_url

from control.notify import bounded, signature
from control.notify.message import Message, slack
from control.plan.model import Plan
from control.plan.notify import Form, wrong_with
from sql.errors import GivenWrongError, NotDeliveredError, RefusedError
from sql.postgres.connection import resolve

#: Seconds that a connection is waited for, a part of the answer, and all of it.
CONNECT, READ, WHOLE = 3.0, 5.0, 10.0
#: What may be otherwise the next time; every other status that is no success is not tried again.
_AGAIN = frozenset({408, 425, 429})
#: Seconds of a `Retry-After` that are obeyed, at most.
_LONGEST_AFTER = 300.0
#: What went wrong; the first that fits.
_WHY: tuple[tuple[type[Exception], str], ...] = (
    (urllib3.exceptions.NameResolutionError, "its name is not known"),
    (urllib3.exceptions.NewConnectionError, "nobody listens there"),  # one of the next kind
    (urllib3.exceptions.ConnectTimeoutError, f"no connection within {CONNECT:g} s"),
    (urllib3.exceptions.ReadTimeoutError, f"no answer within {READ:g} s"),
    (urllib3.exceptions.SSLError, "its certificate is not accepted, or TLS failed"),
    (urllib3.exceptions.ProxySchemeUnknown, "the proxy of the environment is none that speaks HTTP"),
    (urllib3.exceptions.ProxyError, "the proxy of the environment does not let it through"),
    (urllib3.exceptions.LocationParseError, "its address, or that of the proxy, can't be read"),
    (urllib3.exceptions.ProtocolError, "the connection broke off"),
)


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
        begun = time.monotonic()
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
            late = time.monotonic() - begun >= WHOLE
            why = f"no whole answer within {WHOLE:g} s" if late else _why(error)
            raise NotDeliveredError(self.where, why) from None
        return self._judged(answer.status, answer.headers.get("retry-after", ""))

    def _judged(self, status: int, after: str) -> int:
        if 200 <= status < 300:
            return status
        if status in _AGAIN or status >= 500:
            raise NotDeliveredError(self.where, _said(status), after=min(_seconds(after), _LONGEST_AFTER))
        raise RefusedError(self.where, _said(status))

    def _headers(self, id_: str, body: bytes) -> dict[str, str]:
        auth = parse_url(self.url).auth
        return {
            "content-type": "application/json",
            "user-agent": f"tenantry/{version('tenantry')}",
            **({"authorization": _basic(auth)} if auth else {}),
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
        return bounded.within(WHOLE, urllib3.PoolManager())
    if "://" not in proxy:  # a host and a port are enough for other programs
        proxy = f"http://{proxy}"
    auth = parse_url(proxy).auth
    headers = {"proxy-authorization": _basic(auth)} if auth else None
    return bounded.within(WHOLE, urllib3.ProxyManager(proxy, proxy_headers=headers))


def _basic(auth: str) -> str:
    """The header of a name and a password, which an address has in percent signs."""
    return f"Basic {base64.b64encode(unquote(auth).encode()).decode()}"


def _seconds(after: str) -> float:
    """What a `Retry-After` asks for, which is a number of seconds or a date; 0 where it is neither."""
    try:
        return Retry().parse_retry_after(after)
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return 0.0


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
    return next((why for kind, why in _WHY if isinstance(error, kind)), type(error).__name__)
