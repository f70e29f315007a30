"""A segment: one append-only file of records, and the two ways to add one to it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dicomnode import disk, records
from dicomnode.errors import CannotKeep
from dicomnode.keys import ProjectKeys
from dicomnode.model import Buffer, IdentityEntry, Instance, Location
from dicomnode.records import HEADER, Record, Shape

LOOK_EVERY = 1.0  # seconds, and with each lease


class Segment:
    """A segment file leased to one association; all methods block and belong into a thread.

    Its lock guards the file's end and descriptor even against a lease that has ended without knowing it.
    """

    def __init__(
        self, path: Path, name: str, project: str, study_key: str, keys: ProjectKeys, fd: int, left: int = 0
    ) -> None:
        """`left` bytes of a former segment are in the file."""
        self.name = name
        self.project = project
        self.study_key = study_key
        self.end = 0
        self._path = path
        self._keys = keys
        self._fd: int | None = fd
        self._left = left
        self._usable = True
        self._look_at = 0.0
        self._lock = threading.Lock()
        self._writer: RecordWriter | None = None

    @property
    def usable(self) -> bool:
        """False after an I/O error that leaves the file in doubt: give it back and lease another."""
        return self._usable

    @property
    def surplus(self) -> int:
        """How many bytes behind its end a former segment left in the file."""
        return max(0, self._left - self.end)

    def append(self, record: Record) -> Location:
        """Append one record and sync it; raises CannotKeep, the record then does not exist."""
        with self._lock:
            fd = self._writable()
            with self._cut_back_on_error():
                disk.write(fd, records.marked(record.parts, self.name), self.end)
            return self._add(fd, record.shape, record.tail_length)

    def begin(self) -> RecordWriter:
        """Start a record whose bytes come bit by bit; nothing else can be appended until it is finished or void."""
        with self._lock:
            self._writer = RecordWriter(self, self._writable())
            return self._writer

    def _add(self, fd: int, shape: Shape, tail_length: int) -> Location:
        """Make the record that was written at the end durable, and only then move the end."""
        self._sync(fd)
        location = records.locate(self.name, self.end, shape, tail_length)
        self.end += location.length
        return location

    def _writable(self) -> int:
        if self._writer is not None:
            raise RuntimeError("a record of this segment is still being written")
        if self._fd is None or not self._usable:
            raise CannotKeep(f"segment {self.name} was given up after an error", "lease another segment")
        if time.monotonic() >= self._look_at:
            self._look(self._fd)
        return self._fd

    def _look(self, fd: int) -> None:
        """Raises CannotKeep where the file was removed: what is written there now is gone when it is closed."""
        self._look_at = time.monotonic() + LOOK_EVERY
        if not disk.has_name(fd):
            self._usable = False
            raise CannotKeep(f"segment {self.name} was removed", "lease another segment")

    @contextmanager
    def _cut_back_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._cut_back()
            raise

    def _sync(self, fd: int) -> None:
        """After a failed sync the kernel may have dropped the pages: the file is cut back and never used again."""
        try:
            disk.sync(fd)
        except BaseException:
            self._cut_back()
            self._usable = False
            raise

    def _cut_back(self) -> None:
        if self._fd is None:
            return
        try:
            disk.truncate(self._fd, self.end)
            self._left = 0
        except CannotKeep:
            self._usable = False

    def _reopen(self) -> None:
        with self._lock:
            self._look_at = 0.0
            if self._fd is None:
                self._fd = disk.reopen(self._path)

    def _close(self) -> None:
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _drop_writer(self) -> None:
        """Cut off an unfinished record, and what a former segment left: a study that waits keeps its own alone."""
        with self._lock:
            if self._writer is not None or self.surplus:
                self._writer = None
                self._cut_back()


class RecordWriter:
    """A record that is written as its bytes come; it counts only after finish(). Offsets are in its Part 10 bytes."""

    def __init__(self, segment: Segment, fd: int) -> None:
        self._segment = segment
        self._fd = fd
        self._start = segment.end + HEADER.size
        self.length = 0

    def write(self, parts: Sequence[Buffer]) -> None:
        """Write the next Part 10 bytes, not synced; raises CannotKeep, after which the record can only be voided."""
        with self._going():
            end = disk.write(self._fd, parts, self._start + self.length)
            self.length = end - self._start

    def read(self, offset: int, length: int) -> bytes:
        """Read back Part 10 bytes that were written, at most to their end."""
        with self._going():
            return self._read(offset, length)

    def finish(
        self,
        instance: Instance,
        identity: Sequence[IdentityEntry],
        data_set_offset: int,
        pixel_offset: int = 0,
        pixel_length: int = 0,
    ) -> Location:
        """Complete the record and sync it; raises CannotKeep, after which the record does not exist."""
        segment = self._segment
        shape = Shape(self.length, data_set_offset, pixel_offset, pixel_length)
        with self._going():
            segment._writer = None
            with segment._cut_back_on_error():
                front = self._read(0, data_set_offset)
                composed = records.compose(segment._keys, instance, identity, front, shape)
                header, tail = records.marked(composed, segment.name)
                disk.write(self._fd, [tail], self._start + self.length)
                disk.write(self._fd, [header], segment.end)
            return segment._add(self._fd, shape, len(tail))

    def void(self) -> None:
        """Drop what was written; the segment goes on from its last record."""
        if self._segment._writer is self:
            self._segment._drop_writer()

    @contextmanager
    def _going(self) -> Iterator[None]:
        with self._segment._lock:
            if self._segment._writer is not self:
                raise CannotKeep(f"a record of segment {self._segment.name} was dropped", "its lease has ended")
            yield

    def _read(self, offset: int, length: int) -> bytes:
        return disk.read(self._fd, max(0, min(length, self.length - offset)), self._start + offset)
