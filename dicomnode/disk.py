"""File operations whose order decides what survives a power cut.

Everything that must be durable goes through these functions and nowhere else, so that a test can
record them and rebuild the disk from what was synced. OSError becomes CannotKeep.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dicomnode.errors import CannotKeep
from dicomnode.model import Buffer

MOST_PARTS = 1024  # IOV_MAX on Linux


TROUBLE = "free space or repair the disk; a running node tries again by itself"
ASKED = "free space or repair the disk, then look whether what was asked was done before asking again"
RIGHTS = "give the directory to the user that runs dicomnode, or name another"
WRONG_PLACE = dict.fromkeys((errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST), RIGHTS)


@contextmanager
def _keeping(action: str, where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = os.strerror(error.errno) if error.errno else type(error).__name__
        raise CannotKeep(f"cannot {action} {where}: {name}", WRONG_PLACE.get(error.errno or 0, TROUBLE)) from error


def create(path: Path) -> int:
    """Create a new file (0600) for reading and writing; returns its descriptor."""
    with _keeping("create", path.name):
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)


def reopen(path: Path) -> int:
    """Open an existing file for reading and writing; returns its descriptor."""
    with _keeping("open", path.name):
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def write(fd: int, parts: Sequence[Buffer], offset: int) -> int:
    """Write all parts one after the other from `offset`; returns the offset behind the last byte."""
    with _keeping("write", "a file of the storage directory"):
        for first in range(0, len(parts), MOST_PARTS):
            batch = list(parts[first : first + MOST_PARTS])
            offset = _write_all(fd, batch, offset)
    return offset


def _write_all(fd: int, parts: list[Buffer], offset: int) -> int:
    left = sum(len(part) for part in parts)
    while left:
        written = os.pwritev(fd, parts, offset)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        offset += written
        left -= written
        while parts and written >= len(parts[0]):
            written -= len(parts.pop(0))
        if written:
            parts[0] = memoryview(parts[0])[written:]
    return offset


def read(fd: int, length: int, offset: int) -> bytes:
    """`length` bytes from `offset`, fewer only at the end of the file."""
    with _keeping("read", "a file of the storage directory"):
        data = os.pread(fd, length, offset)
        while 0 < len(data) < length and (more := os.pread(fd, length - len(data), offset + len(data))):
            data += more
    return data


def size(path: Path) -> int:
    """How many bytes the file has; a missing one has none."""
    with _keeping("look at", path.name):
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0


def free(path: Path) -> int:
    """How many bytes the file system of this directory has for us."""
    with _keeping("look at", path.name):
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize


def files(folder: Path, suffix: str) -> list[Path]:
    """The files of a directory whose names end so, in order; a missing directory has none."""
    with _keeping("look at", folder.name):
        try:
            return sorted(path for path in folder.iterdir() if path.name.endswith(suffix))
        except FileNotFoundError:
            return []


def is_there(path: Path) -> bool:
    """Whether there is anything of that name."""
    with _keeping("look at", path.name):
        return path.exists()


def is_directory(path: Path) -> bool:
    """Whether there is such a directory."""
    with _keeping("look at", path.name):
        return path.is_dir()


def is_read_only(path: Path) -> bool:
    """Whether the file system of what is there takes no changes. Raises OSError."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def has_name(fd: int) -> bool:
    """Whether an open file still stands in some directory; no where that cannot be seen."""
    try:
        return os.fstat(fd).st_nlink > 0
    except OSError:
        return False


def sync(fd: int) -> None:
    """Return when the file's bytes and length are on stable storage."""
    with _keeping("sync", "a file of the storage directory"):
        os.fdatasync(fd)


def sync_file(path: Path) -> None:
    """Return when the bytes of a file that somebody else has written are on stable storage."""
    fd = reopen(path)
    try:
        sync(fd)
    finally:
        os.close(fd)


def truncate(fd: int, length: int) -> None:
    """Cut the file to `length` bytes."""
    with _keeping("truncate", "a file of the storage directory"):
        os.ftruncate(fd, length)


def aside(path: Path) -> Path:
    """Where `replace` writes before it renames; what lies there is lost."""
    return path.with_name(path.name + ".new")


def replace(path: Path, content: bytes) -> None:
    """Give a small file this content, whole or not at all; durable on return."""
    unfinished = aside(path)
    unlink(unfinished)
    fd = create(unfinished)
    try:
        write(fd, [content], 0)
        sync(fd)
    finally:
        os.close(fd)
    rename(unfinished, path)
    sync_directory(path.parent)


def rename(source: Path, target: Path) -> None:
    """Rename a file; durable only after sync_directory."""
    with _keeping("rename", source.name):
        source.rename(target)


def unlink(path: Path) -> None:
    """Delete a file; durable only after sync_directory. A missing file is no error."""
    with _keeping("delete", path.name):
        path.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Create a directory (0700) and its missing parents, each synced into its own parent.

    One that is there already is left alone: a caller that depends on its name syncs the parent itself.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    create_directory(path)
    sync_directory(path.parent)


def create_directory(path: Path) -> None:
    """Create one directory (0700); durable only after sync_directory of its parent. One that exists is no error."""
    with _keeping("create directory", str(path)):
        path.mkdir(mode=0o700, exist_ok=True)


def remove_directory(path: Path) -> None:
    """Delete an empty directory; durable only after sync_directory of its parent. A missing one is no error."""
    with _keeping("delete directory", path.name), suppress(FileNotFoundError):
        path.rmdir()


def sync_directory(path: Path) -> None:
    """Return when the names in a directory are on stable storage."""
    with _keeping("sync directory", path.name):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def open_to_others(path: Path, mode: int) -> bool:
    """Whether others than the owner may use a file of this mode.

    systemd opens a credential to the service's user by an access list, which shows as rights of the group.
    """
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    return bool(mode & (0o007 if given and path.is_relative_to(given) else 0o077))
