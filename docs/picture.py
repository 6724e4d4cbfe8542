"""Draws `docs/demo.svg`: what a demo prints, as a picture. `make picture` runs it."""

import logging
import os
import sys
from pathlib import Path

from rich.console import Console

from control.demo.show import show
from worker import logs

_ENTITIES = 200_000


def main() -> int:
    """Run the demo and draw it; its exit status."""
    logs.configure(level=logging.WARNING)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        # Not a terminal: a live display draws itself again and again, a picture wants each line once.
        console = Console(record=True, width=132, file=nowhere)
        status = show(_ENTITIES, console)
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="make demo")
    return status


if __name__ == "__main__":
    sys.exit(main())
