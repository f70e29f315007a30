"""Where clean files go: a folder or object storage. Whole or not at all, and never over what is there unless asked."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from dicomnode import disk
from dicomnode.errors import CannotKeep
from dicomnode.folders import objects
from dicomnode.folders.tally import Fate
from dicomnode.model import Buffer

UNFINISHED = ".unfinished-"
"""What is written aside lies in a folder of this name, the machine and the number of the process."""


AGAIN = "free space or repair the disk, and run it again: what is there stays and counts"


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Says of what cannot be kept where it was to go, and that a run does not go on by itself."""
    try:
        yield
    except CannotKeep as error:
        cause = error.__cause__
        why = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else type(cause).__name__
        hint = AGAIN if error.hint == disk.TROUBLE else error.hint
        raise CannotKeep(f"cannot write {path}: {why}", hint) from cause


def write(path: Path, content: bytes) -> None:
    """Write one file whole (0600), durable on return; raises CannotKeep."""
    with told(path):
        disk.make_directory(path.parent.resolve())
        disk.replace(path, content)


class Target(Protocol):
    """Takes clean files; they are there for good after `commit`."""

    def put(self, name: str, parts: Sequence[Buffer]) -> Fate | None:
        """Write one file. THERE or WITHHELD when one of that name is there, with the same or other content."""
        ...

    def commit(self) -> list[Fate]:
        """What became of the files that were put since the last commit and had no answer; they are durable now."""
        ...

    def close(self) -> None:
        """Leave nothing unfinished behind."""
        ...


def target(place: str, overwrite: bool) -> Target:
    """The target that a path or an address names."""
    return ObjectTarget(place, overwrite) if objects.is_address(place) else FolderTarget(Path(place), overwrite)


class FolderTarget:
    """A folder. Files are written aside, synced together, and then given their names."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        self._path = path
        self._overwrite = overwrite
        self._aside = path / f"{UNFINISHED}{os.uname().nodename}-{os.getpid()}"
        self._lock = -1
        self._waiting: list[tuple[Path, Path]] = []

    def put(self, name: str, parts: Sequence[Buffer]) -> Fate | None:
        """Write a file aside, unless one of its name is there."""
        with told(self._path):
            return self._put(self._path / name, parts)

    def _put(self, path: Path, parts: Sequence[Buffer]) -> Fate | None:
        if not self._overwrite and path.exists():
            return Fate.THERE if same(path, parts) else Fate.WITHHELD
        if not self._waiting:
            self._open()
        unfinished = self._aside / f"{len(self._waiting)}.dcm"
        disk.unlink(unfinished)
        fd = disk.create(unfinished)
        try:
            disk.write(fd, list(parts), 0)
        finally:
            os.close(fd)
        self._waiting.append((unfinished, path))
        return None

    def _open(self) -> None:
        """Make the folder for what is unfinished, and lock it as long as this process lives."""
        if self._lock < 0:
            disk.make_directory(self._aside)
            self._lock = os.open(self._aside, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def commit(self) -> list[Fate]:
        """One sync for all of them, then their names; a name that was taken meanwhile stays with its file."""
        if not self._waiting:
            return []
        with told(self._path):
            sync_all(self._aside)
            fates = [self._name(unfinished, path) for unfinished, path in self._waiting]
        self._waiting.clear()
        return fates

    def _name(self, unfinished: Path, path: Path) -> Fate:
        disk.make_directory(path.parent)
        if self._overwrite:
            disk.rename(unfinished, path)
            return Fate.CLEANED
        try:
            os.link(unfinished, path)
        except FileExistsError:
            fate = Fate.THERE if same(path, [unfinished.read_bytes()]) else Fate.WITHHELD
            disk.unlink(unfinished)
            return fate
        except OSError:  # a file system without hard links
            disk.rename(unfinished, path)
            return Fate.CLEANED
        disk.unlink(unfinished)
        return Fate.CLEANED

    def close(self) -> None:
        """Remove what is unfinished; the names given are durable."""
        if self._lock >= 0:
            shutil.rmtree(self._aside, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1
            with told(self._path):
                sync_all(self._path)


def same(path: Path, parts: Sequence[Buffer]) -> bool:
    """Whether a file has exactly these bytes."""
    if disk.size(path) != sum(len(part) for part in parts):
        return False
    with path.open("rb") as opened:
        return all(opened.read(len(part)) == part for part in parts)


def sync_all(path: Path) -> None:
    """Return when all that was written to the file system of `path` is on stable storage; raises CannotKeep."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            raise CannotKeep(f"cannot sync {path}: {error.strerror}", disk.TROUBLE) from error
    finally:
        os.close(fd)


def sweep(place: str) -> None:
    """Remove what runs that were killed left unfinished in a folder; what a process writes to is locked by it."""
    if objects.is_address(place):
        return
    for left in Path(place).glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            fd = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(fd)


class ObjectTarget:
    """Object storage; an object appears whole when its upload ends."""

    def __init__(self, address: str, overwrite: bool) -> None:
        self._files, self._root = objects.opened(address)
        self._overwrite = overwrite

    def put(self, name: str, parts: Sequence[Buffer]) -> Fate | None:
        """Upload one object, unless one of its name is there."""
        path, content = f"{self._root}/{name}", b"".join(parts)
        with objects.told():
            if self._overwrite:
                self._files.pipe_file(path, content)
                return Fate.CLEANED
            if self._files.exists(path):
                return self._compared(path, content)
            try:
                self._files.pipe_file(path, content, mode="create")
            except OSError:
                if not self._files.exists(path):
                    raise
                return self._compared(path, content)
        return Fate.CLEANED

    def _compared(self, path: str, content: bytes) -> Fate:
        return Fate.THERE if self._files.cat_file(path) == content else Fate.WITHHELD

    def commit(self) -> list[Fate]:
        """Nothing waits."""
        return []

    def close(self) -> None:
        """Nothing is left behind."""
