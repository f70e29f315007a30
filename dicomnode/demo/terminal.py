"""What the demonstration prints: headings, steps and aligned columns, plain where there is no terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

BOLD, DIM, GREEN, RED, YELLOW = "1", "2", "32", "31", "33"
LEAST_WIDTH, MOST_WIDTH = 80, 132


def styled(text: str, style: str) -> str:
    """The text in that style on a terminal; NO_COLOR is respected."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{style}m{text}\033[0m"


def _can_show(character: str) -> bool:
    try:
        character.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def width() -> int:
    """Columns to use; 120 where there is no terminal."""
    return max(LEAST_WIDTH, min(MOST_WIDTH, shutil.get_terminal_size((120, 24)).columns))


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def heading(text: str) -> None:
    """A heading with a rule below it."""
    line = "─" if _can_show("─") else "-"
    say(f"\n{styled(text, BOLD)}\n{styled(line * width(), DIM)}")


def shorten(text: str, most: int) -> str:
    """The text, cut in the middle when it is longer than `most`."""
    if len(text) <= most:
        return text
    return f"{text[: most - most // 3 - 2]}..{text[len(text) - most // 3 :]}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Aligned columns; those numbered in `right` are aligned to the right, the last one takes the room that is left."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    room = width() - sum(widths[:-1]) - 2 * (len(widths) - 1) - 2
    widths[-1] = max(10, min(widths[-1], room))

    def line(cells: Sequence[str]) -> str:
        shown = [shorten(cell, size) for cell, size in zip(cells, widths, strict=True)]
        aligned = [
            cell.rjust(size) if column in right else cell.ljust(size)
            for column, (cell, size) in enumerate(zip(shown, widths, strict=True))
        ]
        return ("  " + "  ".join(aligned)).rstrip()

    say(styled(line(head), DIM))
    for row in rows:
        say(line(row))
