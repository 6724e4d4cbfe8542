"""Draws `docs/demo.svg`, the summary of a demo, and prints it too. `make picture` runs it."""

import logging
import os
import sys
from pathlib import Path

from rich.console import Console

from control.demo import summary
from control.demo.show import migrate
from worker import logs

_ENTITIES = 200_000


def main() -> int:
    """Run the demo and draw it; its exit status."""
    logs.configure(level=logging.WARNING)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        told = migrate(_ENTITIES, Console(stderr=True))
        console = Console(record=True, width=132, file=nowhere)
        summary.say(told, console)
    sys.stdout.write(console.export_text(clear=False))
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="make demo")
    return 0 if told.ok else 1


if __name__ == "__main__":
    sys.exit(main())
