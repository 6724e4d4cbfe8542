"""Signs a message as Standard Webhooks has it (standardwebhooks.com), for which receivers have libraries."""

import base64
import binascii
import hashlib
import hmac

#: Before a secret that is written in base64.
_PREFIX = "whsec_"


def headers(secret: str | None, id_: str, at: int, body: bytes) -> dict[str, str]:
    """The headers that tell a message, and sign it where there is a secret; `at` is a Unix time.

    The receiver drops what it has seen by its id, and what is old by its time.
    """
    told = {"webhook-id": id_, "webhook-timestamp": str(at)}
    if secret is not None:
        digest = hmac.digest(key(secret), f"{id_}.{at}.".encode() + body, hashlib.sha256)
        told["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return told


def key(secret: str) -> bytes:
    """The bytes of a secret: what is base64 behind `whsec_`, or else its own.

    Raises:
        ValueError: what is behind `whsec_` is no base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("what follows whsec_ is no base64") from None
