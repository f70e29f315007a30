"""Failing system calls below one directory: what dicomnode.disk asks of the system answers with an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OPERATIONS = ("create", "mkdir", "write", "fdatasync", "dirsync", "rename", "unlink", "truncate")
FUNCTIONS = {
    "create": "open", "mkdir": "mkdir", "write": "pwritev", "fdatasync": "fdatasync", "dirsync": "fsync",
    "rename": "rename", "unlink": "unlink", "truncate": "ftruncate",
}  # fmt: skip


class Spoilt:
    """Counts the calls below `root`; `fails(number, operation)` says with which errno one fails, 0 for none."""

    def __init__(self, root: Path) -> None:
        self.root = f"{root.resolve()}/"
        self.calls: list[str] = []
        self.failed: list[str] = []
        self.fails: Callable[[int, str], int] = lambda number, operation: 0

    def _concerns(self, operation: str, arguments: tuple[Any, ...]) -> bool:
        if operation == "create" and not (
            len(arguments) > 1 and arguments[1] & os.O_CREAT and arguments[1] & os.O_EXCL
        ):
            return False
        path = f"/proc/self/fd/{arguments[0]}" if isinstance(arguments[0], int) else os.fspath(arguments[0])
        where = os.readlink(path) if path.startswith("/proc") else os.path.abspath(path)  # noqa: PTH100, PTH115
        return where.startswith(self.root)

    def wrap(self, operation: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """The function that counts and fails."""

        def call(*arguments: Any, **named: Any) -> Any:
            if self._concerns(operation, arguments):
                number = len(self.calls)
                self.calls.append(operation)
                if error := self.fails(number, operation):
                    self.failed.append(operation)
                    if operation == "write":
                        original(arguments[0], [bytes(arguments[1][0])[:7]], *arguments[2:])  # half of it has gone
                    raise OSError(error, os.strerror(error))
            return original(*arguments, **named)

        return call


@contextmanager
def spoilt(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spoilt]:
    """Spoil the system calls below `root` for a while."""
    made = Spoilt(root)
    with monkeypatch.context() as patch:
        for operation, name in FUNCTIONS.items():
            patch.setattr(os, name, made.wrap(operation, getattr(os, name)))
        yield made
