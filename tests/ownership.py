"""Folders of an account without rights: PostgreSQL refuses to be root, and so does the image."""

import os
from pathlib import Path

from control.embedded.keeper import Account


def hand_over(folder: Path, account: Account | None) -> None:
    """Give a folder and all in it to an account; where that is None it stays ours."""
    if account is None:
        return
    for here, folders, files in os.walk(folder, topdown=False):
        for entry in (*folders, *files):
            os.chown(Path(here, entry), account.uid, account.gid, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid)
