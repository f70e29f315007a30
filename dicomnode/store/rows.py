"""Inserting many rows with few statements: a statement per power of two of rows, through the driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Connection

SIZES = (64, 16, 4, 1)


class Insert:
    """INSERT of rows of `columns` into `table`, with an ON CONFLICT clause.

    One statement for many rows is one step of the database, and one turn of the interpreter's lock.
    """

    def __init__(self, table: str, columns: Sequence[str], conflict: str) -> None:
        self._head = f"INSERT INTO {table} ({', '.join(_quoted(column) for column in columns)}) VALUES "
        self._row = f"({', '.join('?' * len(columns))})"
        self._tail = f" {conflict}"

    @cached_property
    def _statements(self) -> dict[int, str]:
        return {size: self._head + ", ".join([self._row] * size) + self._tail for size in SIZES}

    def into(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert the rows; returns how many the conflict clause let in or changed."""
        changed = 0
        for first, size in _portions(len(rows)):
            values = tuple(value for row in rows[first : first + size] for value in row)
            changed += connection.exec_driver_sql(self._statements[size], values).rowcount
        return changed


def _portions(count: int) -> Iterator[tuple[int, int]]:
    first = 0
    for size in SIZES:
        while count - first >= size:
            yield first, size
            first += size


def _quoted(column: str) -> str:
    return f'"{column}"'
