"""One process owns a storage directory."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from dicomnode import disk
from dicomnode.errors import CannotKeep, StorageLocked


class StorageLock:
    """Holds <directory>/lock until it is released or the process ends. Raises StorageLocked, CannotKeep."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotKeep(
                f"cannot open the lock of {directory}: {os.strerror(error.errno or 0)}",
                disk.WRONG_PLACE.get(error.errno or 0, disk.TROUBLE),
            ) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise StorageLocked(
                f"another dicomnode holds {directory}", "stop it, or let the running one do the work"
            ) from None

    def check(self) -> None:
        """Raises CannotKeep where the directory was moved, removed or covered by another disk while it was held.

        What is written there then would be hidden, or gone, when the right one is back.
        """
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._fd), self._path.stat()):
                return
        raise CannotKeep(
            f"{self._path.parent} is not the storage directory any more that the node was started on",
            "stop the node, put the directory or its disk back, and start it again",
        )

    def release(self) -> None:
        """Let others have the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> StorageLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
