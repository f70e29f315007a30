"""Free space: below a mark nothing is taken any more, so that what is under way and the databases can end well."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog

from dicomnode.errors import CannotKeep

log = structlog.get_logger()

LEAST_FILES = 1000  # inodes; some file systems have no such limit and say 0 of 0
MARGIN = 16  # the mark is passed upwards when this part of it is free in addition


def lacks_files(found: os.statvfs_result) -> bool:
    """Whether the file system has not room for LEAST_FILES more files."""
    return found.f_files > 0 and found.f_favail < LEAST_FILES


class NoSpace(CannotKeep):
    """The file system of the storage directory has less free space than it must have."""


class Space:
    """Free space of a directory's file system; `look` is called every second or so, `check` for every instance."""

    def __init__(self, directory: Path, least: int, make_room: Callable[[], None] = lambda: None) -> None:
        """`make_room` deletes what is not needed: it is called at each look below the mark, before that counts.

        Raises CannotKeep.
        """
        self.directory = directory
        self._least = least
        self._make_room = make_room
        self.free = 0
        self.low = False

    def look(self) -> None:
        """Measure, and log when the mark is passed downwards or upwards; raises CannotKeep when it cannot."""
        found = self._measured()
        if not self._is_low(found):
            self._judge(found)
            return
        try:
            self._make_room()
        finally:
            self._judge(self._measured())

    def _measured(self) -> os.statvfs_result:
        try:
            return os.statvfs(self.directory)
        except OSError as error:
            raise CannotKeep(
                f"cannot measure the free space of {self.directory}: {os.strerror(error.errno or 0)}",
                "look at its disk",
            ) from None

    def _is_low(self, found: os.statvfs_result) -> bool:
        wanted = self._least + (self._least // MARGIN if self.low else 0)
        return found.f_bavail * found.f_frsize < wanted or lacks_files(found)

    def _judge(self, found: os.statvfs_result) -> None:
        self.free = found.f_bavail * found.f_frsize
        low = self._is_low(found)
        if low != self.low:
            self.low = low
            tell, event = (log.error, "storage-low") if low else (log.warning, "storage-enough")
            tell(event, free=self.free, count=found.f_favail)

    def check(self) -> None:
        """Raises NoSpace below the mark."""
        if self.low:
            raise NoSpace("the disk of the storage directory is nearly full", "make room; the node goes on by itself")
