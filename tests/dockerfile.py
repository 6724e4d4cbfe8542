"""Does what a Dockerfile says without a container: its steps, in a folder in place of the root of the image.

As much of the language as ours uses: FROM … AS, WORKDIR, ENV, COPY, RUN, USER, ENTRYPOINT and CMD.
"""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from control.embedded.keeper import Account
from tests.ownership import hand_over

#: An absolute path of the image, where a word or a part of it begins.
_ABSOLUTE = re.compile(r"(?<![\w./$}])/(?=\w)")


@dataclass
class Image:
    """What is built: its root folder, and what a container starts with; steps run as `account`, or us."""

    root: Path
    environment: dict[str, str]
    account: Account | None
    workdir: str = "/"
    user: str = "0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the working folder, with the image's variables."""
        return subprocess.run(
            command,
            cwd=self.inside(self.workdir),
            env=self.environment,
            user=self.account.uid if self.account else None,
            group=self.account.gid if self.account else None,
            extra_groups=None if self.account is None else [],
            check=False,
            capture_output=True,
            text=True,
        )

    def inside(self, path: str) -> Path:
        """Where a path of the image is, one that is not absolute from the working folder on."""
        return self.root / Path("/", self.workdir, path).relative_to("/")

    def below(self, said: str) -> str:
        """A step with its absolute paths below the root folder."""
        return _ABSOLUTE.sub(f"{self.root}/", said)

    def make(self, path: str) -> None:
        """Make a folder of the image."""
        self.inside(path).mkdir(parents=True, exist_ok=True)
        hand_over(self.root, self.account)


def context(repository: Path) -> list[Path]:
    """The files that a build is sent, by .dockerignore, from the repository's root on."""
    patterns = (repository / ".dockerignore").read_text(encoding="utf-8").split()
    files = (path for path in _files(repository, patterns) if not _ignored(path, patterns))
    return sorted(files)


def _files(repository: Path, patterns: list[str]) -> Iterator[Path]:
    # Only what is taken in again can hold files: nothing else of a developer's folder is walked.
    for name in (pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")):
        there = repository / name
        found = there.rglob("*") if there.is_dir() else [there]
        yield from (path.relative_to(repository) for path in found if path.is_file())


def _ignored(path: Path, patterns: list[str]) -> bool:
    """The last pattern that fits the path, or a folder above it, decides."""
    ignored = False
    above = [str(path), *(str(each) for each in path.parents if each != Path())]
    for pattern in patterns:
        wanted = pattern.removeprefix("!").removeprefix("**/")
        anywhere = "**/" in pattern
        if any(fnmatch(Path(each).name if anywhere else each, wanted) for each in above):
            ignored = not pattern.startswith("!")
    return ignored


def build(
    repository: Path, folder: Path, *, account: Account | None, environment: Mapping[str, str]
) -> Image:
    """Build every stage, each in `folder / "root"`, and return the last.

    Raises:
        AssertionError: a step failed; with what it said.
    """
    root = folder / "root"
    image = Image(root, {}, account)
    name = ""
    for instruction, said in _instructions((repository / "Dockerfile").read_text(encoding="utf-8")):
        if instruction == "FROM":
            if root.exists():
                root.rename(folder / name)
            _, _, name = said.partition(" AS ")
            image = Image(root, dict(environment), account)
            image.make("/")
        elif instruction == "COPY":
            _copy(said.split(), image, folder, repository)
            hand_over(image.root, account)
        else:
            _do(instruction, said, image)
    return image


def _do(instruction: str, said: str, image: Image) -> None:
    match instruction:
        case "WORKDIR":
            image.make(said)
            image.workdir = said
        case "USER":
            image.user = said
        case "ENV":
            for each in shlex.split(said):
                variable, _, value = each.partition("=")
                value = image.below(value).replace("$PATH", image.environment["PATH"])
                image.environment[variable] = value
        case "RUN":
            ran = image.run("sh", "-c", image.below(said))
            assert ran.returncode == 0, f"{said}\n{ran.stdout}{ran.stderr}"
        case "ENTRYPOINT":
            image.entrypoint = json.loads(said)
        case "CMD":
            image.command = json.loads(said)
        case _:
            raise AssertionError(f"nothing here knows {instruction}")


def _copy(words: list[str], image: Image, stages: Path, repository: Path) -> None:
    if words[0].startswith("--from="):
        stage, source, target = words[0].removeprefix("--from="), *words[1:]
        shutil.copytree(stages / stage / source.removeprefix("/"), image.inside(target), symlinks=True)
        return
    *sources, target = words
    sent = context(repository)
    for source in sources:
        found = [path for path in sent if path.is_relative_to(source)]
        assert found, f"{source} is not sent to a build"
        for path in found:
            # A file goes into the folder, and of a folder what is in it.
            inner = path.relative_to(source) if path != Path(source) else Path(path.name)
            there = image.inside(target) / inner
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / path, there)


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, said = line.partition(" ")
        yield instruction, said.strip()
