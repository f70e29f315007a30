"""The folder of a run, data/run_at_<seconds since the epoch>: its files are its memory.

A step is done when its file is there. Every file is for the owner alone, and names studies by pseudonym.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from dicomnode import disk
from dicomnode.errors import PermanentError

OVERVIEW, COMMENTS, STUDIES = "overview.txt", "comments.txt", "studies_to_retrieve.txt"
PULLED, ANONYMIZED, HOOKED, PUSHED = (
    "pull_output.txt",
    "anonymize_output.txt",
    "post_anon_output.txt",
    "push_output.txt",
)
STARTED = "push_started.txt"
FOUND, MISSING, REVIEWED = (f"{which}_protocol_studies.txt" for which in ("found", "missing", "reviewed"))
DONE = "done.txt"
QUARANTINE, TO_PRODUCTION, FROM_STAGING = "quarantine", "to_production", "from_staging"
IMAGES = (QUARANTINE, TO_PRODUCTION, FROM_STAGING)

_name = re.compile(r"run_at_(\d+)")


class RunFolder:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @classmethod
    def new(cls, data: Path) -> RunFolder:
        """A folder for a run that begins now."""
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        at = int(time.time())
        while True:
            try:
                (data / f"run_at_{at}").mkdir(mode=0o700)
            except FileExistsError:
                at += 1
            else:
                return cls(data / f"run_at_{at}")

    @classmethod
    def named(cls, path: Path) -> RunFolder:
        """A run by its folder; raises PermanentError when it is none."""
        if not is_run(path.absolute().name) or not path.is_dir():
            raise PermanentError(f"{path} is no folder of a run", "name one: data/run_at_...")
        return cls(path)

    @classmethod
    def newest(cls, data: Path) -> RunFolder:
        """The run that began last; raises PermanentError when there is none."""
        found = runs(data)
        if not found:
            raise PermanentError(f"there is no run in {data}", "begin one: dicomnode run --list FILE")
        return cls(found[-1][1])

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return (self.path / name).exists()

    def write(self, name: str, lines: Iterable[str]) -> None:
        """Write a file, all of it or nothing, durably."""
        disk.replace(self.path / name, "".join(f"{line}\n" for line in lines).encode())

    def lines(self, name: str) -> list[str]:
        """The lines of a file that are not empty."""
        return [line.strip() for line in (self.path / name).read_text(encoding="utf-8").splitlines() if line.strip()]

    def started(self) -> float:
        """When the run first let studies go (seconds since the epoch); now, where it has not."""
        if not self.has(STARTED):
            return time.time()
        return datetime.fromisoformat(self.lines(STARTED)[0]).timestamp()

    def start(self) -> None:
        """Note that the run lets studies go, where it does so for the first time."""
        if not self.has(STARTED):
            self.write(STARTED, [datetime.now(UTC).isoformat()])

    def forget(self, name: str) -> None:
        """A step is to be done again."""
        disk.unlink(self.path / name)
        disk.sync_directory(self.path)

    def remove(self, name: str) -> None:
        """Delete a folder of images, if it is there."""
        shutil.rmtree(self.path / name, ignore_errors=True)


class Overview:
    """overview.txt, a stream: what is written is durable when write() returns. What is said is shown as well."""

    def __init__(self, folder: RunFolder, show: Callable[[str], None]) -> None:
        self._show = show
        self._path = folder.path / OVERVIEW
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "a", encoding="utf-8")

    def write(self, text: str) -> int:
        """Add text."""
        count = self._file.write(text)
        self.flush()
        return count

    def say(self, line: str) -> None:
        """Add a line, and show it; a hook may have left its own without an end."""
        there = self._path.read_bytes()
        self.write(f"\n{line}\n" if there and not there.endswith(b"\n") else f"{line}\n")
        self._show(line)

    def flush(self) -> None:
        """Bring it to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def fileno(self) -> int:
        """The descriptor, for a command that writes to it."""
        return self._file.fileno()

    def close(self) -> None:
        """No more is written."""
        self._file.close()


def runs(data: Path) -> list[tuple[datetime, Path]]:
    """The runs in a data folder with the moment at which each began, the oldest first."""
    found = []
    for path in data.iterdir() if data.is_dir() else ():
        match = _name.fullmatch(path.name)
        if match and path.is_dir():
            found.append((int(match[1]), path))
    return [(datetime.fromtimestamp(at), path) for at, path in sorted(found)]


def is_run(name: str) -> bool:
    """Whether a folder of that name is a run's."""
    return _name.fullmatch(name) is not None


def minute(at: float | None = None) -> str:
    """A moment (seconds since the epoch), or now, to the minute, local time."""
    return f"{datetime.fromtimestamp(time.time() if at is None else at):%Y-%m-%d %H:%M}"
