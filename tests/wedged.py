"""Runs dicomnode with a disk that hangs while a file exists: fdatasync does not come back until that is gone.

Arguments: the file, then those of dicomnode. What hangs is made here; the program itself knows nothing of it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dicomnode import cli, disk

WEDGE = Path(sys.argv[1])
sync = disk.sync


def hang(fd: int) -> None:
    """Like disk.sync, but only once the file is gone."""
    while WEDGE.exists():
        time.sleep(0.05)
    sync(fd)


disk.sync = hang
sys.exit(cli.main(sys.argv[2:]))
