"""Draws `docs/report.png`, the report of a demo in a browser; `make picture-report` runs it.

It needs a Chromium: Debian's package `chromium`.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from control.demo.show import migrate
from control.report.page import html
from worker import logs

_ENTITIES = 200_000
_SIZE = "1100,1500"


def main() -> int:
    """Run the demo and draw its report, which stays in the folder that is named, if one is."""
    logs.configure(level=logging.WARNING)
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("chromium is not installed: apt-get install chromium\n")
        return 2
    told = migrate(_ENTITIES, Console(stderr=True))
    server = told.account.server.model_copy(update={"database": "a demo's graph"})  # its folder is no news
    account = told.account.model_copy(update={"server": server})
    with tempfile.TemporaryDirectory(prefix="tenantry-picture-") as folder:
        page = Path(sys.argv[1] if len(sys.argv) > 1 else folder) / "report.html"
        page.write_text(html(account), encoding="utf-8")
        picture = Path(__file__).with_name("report.png")
        # Root has no sandbox in Chromium, and a container is run as root.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        drawn = [f"--screenshot={picture}", f"--window-size={_SIZE}", "--hide-scrollbars"]
        subprocess.run([chromium, "--headless", *sandbox, *drawn, page.as_uri()], check=True)  # noqa: S603
    return 0 if told.ok else 1


if __name__ == "__main__":
    sys.exit(main())
