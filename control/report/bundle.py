"""Packs what support asks for into one archive: the account in its parts, and the report to look at."""

import gzip
import io
import json
import platform
import sys
import tarfile
from importlib.metadata import distributions
from typing import Any

from control.report.account import Account
from control.report.page import html


def files(account: Account) -> dict[str, str]:
    """The files of a bundle by name. An account has no password in it, and so neither have they."""
    told = account.model_dump(mode="json")
    parts = {
        "status": told["status"],
        "stages": told["stages"],
        "tables": told["tables"],
        "events": told["events"],
        "held": told["held"],
        "history": {name: told[name] for name in ("rates", "paces", "holds", "holding")},
        "verification": told["checks"],
        "server": told["server"],
        "versions": versions(account),
    }
    return {
        "report.html": html(account),
        "plan.toml": account.plan,
        **{
            f"{name}.json": json.dumps(part, indent=2, ensure_ascii=False) + "\n"
            for name, part in parts.items()
        },
    }


def packed(account: Account, folder: str) -> bytes:
    """The archive, its files in a folder of that name; of one account always the same bytes."""
    made, out = int(account.made_at.timestamp()), io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=made) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name, text in files(account).items():
            content = text.encode("utf-8", "backslashreplace")
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), made, 0o600
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def versions(account: Account) -> dict[str, Any]:
    """What runs here: this program, Python, the system, and every package beside it."""
    return {
        "tenantry": account.tenantry,
        account.server.kind: account.server.version,
        "python": sys.version,
        "platform": platform.platform(),
        "packages": dict(sorted((found.name, found.version) for found in distributions())),
    }
