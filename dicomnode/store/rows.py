"""Inserting many rows with few statements: a statement per power of two of rows, through the driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from sqlalchemy import Connection, CursorResult

SIZES = (64, 32, 16, 8, 4, 2, 1)


class Insert:
    """INSERT of rows of `columns` into `table`, with an ON CONFLICT clause; `returning` names columns for `entered`.

    One statement for many rows is one step of the database, and one turn of the interpreter's lock.
    """

    def __init__(self, table: str, columns: Sequence[str], conflict: str, returning: Sequence[str] = ()) -> None:
        self._head = f"INSERT INTO {table} ({', '.join(_quoted(column) for column in columns)}) VALUES "
        self._row = f"({', '.join('?' * len(columns))})"
        self._tail = f" {conflict}" + (f" RETURNING {', '.join(map(_quoted, returning))}" if returning else "")

    @cached_property
    def _statements(self) -> dict[int, str]:
        return {size: self._head + ", ".join([self._row] * size) + self._tail for size in SIZES}

    def into(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows."""
        for _ in self._carry_out(connection, rows):
            pass

    def entered(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Insert the rows; the columns that are to be returned of each that the conflict clause let in or changed."""
        return [tuple(row) for result in self._carry_out(connection, rows) for row in result.all()]

    def _carry_out(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> Iterator[CursorResult[Any]]:
        for first, size in _portions(len(rows)):
            values = tuple(chain.from_iterable(rows[first : first + size]))
            yield connection.exec_driver_sql(self._statements[size], values)


def _portions(count: int) -> Iterator[tuple[int, int]]:
    first = 0
    for size in SIZES:
        while count - first >= size:
            yield first, size
            first += size


def _quoted(column: str) -> str:
    return f'"{column}"'
