"""Writes the dashboards: `python -m grafana.build`, with `--runbook` where yours is to be read.

The files are what Grafana imports and provisions, and are committed: the same code gives the same bytes.
"""

import argparse
import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana import governor, of_table, overview, workers
from grafana.frame import framed

FOLDER = Path(__file__).parent / "dashboards"

#: Where the runbook is to be read, as a browser finds it.
RUNBOOK = "docs/runbook.md"


def dashboards(runbook: str = RUNBOOK) -> dict[str, str]:
    """Make all of them: the text of each, by the name of its file."""
    made = {
        "overview": framed("Overview", overview.QUESTION, overview.rows(), runbook=runbook),
        "table": framed("Table", of_table.QUESTION, of_table.rows(), runbook=runbook, of_a_table=True),
        "governor": framed("Governor", governor.QUESTION, governor.rows(), runbook=runbook),
        "workers": framed("Workers", workers.QUESTION, workers.rows(), runbook=runbook),
    }
    return {
        f"{name}.json": json.dumps(
            board.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False
        )
        + "\n"
        for name, board in made.items()
    }


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description="Write the dashboards to grafana/dashboards.")
    parser.add_argument("--runbook", default=RUNBOOK, help="where your browsers find docs/runbook.md")
    FOLDER.mkdir(exist_ok=True)
    for name, text in dashboards(parser.parse_args().runbook).items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
