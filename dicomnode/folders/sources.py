"""Where files come from: a folder, one file, or object storage. Reading only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Protocol

from dicomnode.errors import ConfigError
from dicomnode.folders import objects
from dicomnode.model import Buffer

READ_WHOLE = 16 << 20
"""Bytes of a file up to which reading it is faster than mapping it."""


class NoFile(OSError):
    """A symbolic link, which is not followed, or a pipe, a socket, a device."""


class Source(Protocol):
    """Names of files in a fixed order, and their bytes."""

    def names(self) -> Iterator[str]:
        """The names, relative to the source."""
        ...

    def read(self, name: str) -> Buffer:
        """The file's bytes; raises OSError, and NoFile of it for what is no regular file."""
        ...


def source(place: str) -> Source:
    """The source that a path or an address such as s3://bucket/folder names."""
    if objects.is_address(place):
        return ObjectSource(place)
    return FolderSource(Path(place))


class FolderSource:
    """What lies below a folder, symbolic links not followed; or the one file, a link to it too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_folder = path.is_dir()

    def names(self) -> Iterator[str]:
        """All there is but folders, in a fixed order; a folder that cannot be listed, which `read` then refuses."""
        if not self._is_folder:
            yield self._path.name
            return
        closed: list[OSError] = []
        for folder, folders, files in os.walk(self._path, onerror=closed.append):
            folders.sort()
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in sorted([*files, *links]):
                yield str(Path(folder, name).relative_to(self._path))
        for error in closed:
            yield str(Path(error.filename).relative_to(self._path))

    def read(self, name: str) -> Buffer:
        """The file's bytes; a large file is mapped into memory, as long as somebody looks at it."""
        path = self._path / name if self._is_folder else self._path
        if self._is_folder and not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
            raise NoFile
        with path.open("rb", buffering=0) as opened:
            if os.fstat(opened.fileno()).st_size <= READ_WHOLE:
                return opened.read()
            return memoryview(mmap(opened.fileno(), 0, access=ACCESS_READ))


class ObjectSource:
    """The objects below an address, or the one object."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._files, self._root = objects.opened(address)

    def names(self) -> Iterator[str]:
        """The objects in a fixed order; raises ConfigError where there are none."""
        with objects.told():
            try:
                found = sorted(self._files.find(self._root))
            except FileNotFoundError:
                found = []
        if not found:
            raise ConfigError(f"there is nothing at {self._address}", "check the address")
        for path in found:
            yield path.removeprefix(self._root).lstrip("/") or path.rsplit("/", 1)[-1]

    def read(self, name: str) -> Buffer:
        """The whole object."""
        path = f"{self._root}/{name}"
        with objects.told(file=True):
            if not self._files.exists(path):
                path = self._root
            return bytes(self._files.cat_file(path))
