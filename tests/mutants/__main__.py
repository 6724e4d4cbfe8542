"""`make mutants`: so many mutants that a seed chooses, how many of them the tests kill, and those that live.

mutmut makes the mutants and runs the tests on each. What it can't do is done here: a sample, which is the
same for a seed as long as the code is the same, and a table. The exit status is 1 where too few are killed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from random import Random

from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import get_mutant_name

from tests.servers import RUNNING, SETTINGS, start_postgres

#: Where mutmut has its copy of the code, with every mutant in it.
COPY = Path("mutants")
#: Percent of the sample that has to be killed.
BAR = 85
#: mutmut's words for a mutant that made a test fail, hang or crash.
KILLED = frozenset({"killed", "timeout", "segfault"})


def every_mutant(paths: list[Path]) -> list[str]:
    """The names of all mutants, in the order of the code."""
    return [
        get_mutant_name(path, name)
        for path in paths
        for name in mutate_file_contents(str(path), path.read_text()).mutant_names
    ]


def tried(names: list[str], processes: int) -> None:
    """Run the tests on these mutants. The processes that tests start take the mutated copy too.

    Raises:
        subprocess.CalledProcessError: the tests fail on the code as it is.
    """
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir()  # of a folder that isn't there yet Python remembers for good that nothing is in it
    environment = {name: value for name, value in os.environ.items() if name != "SEED"}
    with ExitStack() as stack:
        servers = [stack.enter_context(start_postgres(settings=SETTINGS)) for _ in range(processes)]
        environment[RUNNING] = ":".join(str(server.folder) for server in servers)
        environment["PYTHONPATH"] = str(COPY.resolve())
        subprocess.run(
            [Path(sys.executable).parent / "mutmut", "run", "--max-children", str(processes), *names],
            env=environment,
            check=True,
        )


def main() -> int:
    """Draw a sample, try it and print what became of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--mutants", type=int, default=300, help="how many; all of them where there are fewer"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    begun = time.monotonic()
    paths = [Path(path) for path in config().only_mutate]
    there = every_mutant(paths)
    sample = sorted(Random(asked.seed).sample(there, min(asked.mutants, len(there))))
    tried(sample, asked.processes)

    status: dict[str, str] = {}
    for path in paths:
        found = SourceFileMutationData(path=path)
        found.load()
        status |= {name: status_by_exit_code[code] for name, code in found.exit_code_by_key.items()}
    living = [name for name in sample if status[name] not in KILLED]
    for name in living:
        path = next(path for path in paths if name.startswith(get_mutant_name(path, "")))
        changed = [line for line in get_diff_for_mutant(name, path=path).splitlines()[2:] if line[0] in "+-"]
        sys.stdout.write("\n".join(["", f"{name}: {status[name]}", *changed, ""]))

    seconds = time.monotonic() - begun
    told = [
        f"\nseed {asked.seed}: {len(sample)} of {len(there)} mutants, {seconds:.0f} s\n",
        f"{'':20}{'mutants':>9}{'killed':>9}{'out of time':>13}{'alive':>7}",
    ]
    of_file = {str(path): get_mutant_name(path, "") for path in paths}
    for file, prefix in (of_file | {"together": ""}).items():
        of = [name for name in sample if name.startswith(prefix)]
        alive, late = sum(name in living for name in of), Counter(status[name] for name in of)["timeout"]
        told.append(f"{file:20}{len(of):>9}{len(of) - alive - late:>9}{late:>13}{alive:>7}")
    percent = 100 * (len(sample) - len(living)) / len(sample)
    told.append(f"\n{percent:.1f} % are killed; {BAR} % have to be\n")
    sys.stdout.write("\n".join(told))
    return 0 if percent >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
