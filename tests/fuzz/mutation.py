"""Random changes to bytes and text: what files, peers and editors do to them, and worse."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

EDGES = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 65534, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
VRS = (
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV ZZ".split()
)
LARGEST = 1 << 20


def mutated(random: Random, data: bytes, pool: Sequence[bytes]) -> bytes:
    """A few random changes to bytes; pieces of `pool` may come in."""
    changed = bytearray(data)
    for _ in range(1 + min(int(random.expovariate(0.7)), 8)):
        random.choice(CHANGES)(random, changed, pool)
    return bytes(changed[:LARGEST])


def _place(random: Random, data: bytearray) -> int:
    """Headers are at the front: half of the changes are, too."""
    return random.randrange(min(len(data), 600) if random.random() < 0.5 else len(data)) if data else 0


def _flip(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    if data:
        data[_place(random, data)] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    if data:
        data[_place(random, data)] = random.choice(
            (0, 1, 0x20, 0x2F, 0x5C, 0x5E, 0x7F, 0x80, 0xFF, random.randrange(256))
        )


def _number(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    at, width, order = _place(random, data), random.choice((2, 4)), random.choice(("little", "big"))
    number = (
        random.choice(EDGES) + random.randrange(-2, 3) if random.random() < 0.6 else random.randrange(len(data) + 9)
    )
    data[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]


def _remove(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    at = _place(random, data)
    del data[at : at + random.choice((1, 2, 4, 8, random.randrange(1, 64)))]


def _repeat(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    at, length = _place(random, data), random.randrange(1, 200)
    data[at:at] = data[at : at + length] * random.choice((1, 1, 2, 30))


def _insert(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    at = _place(random, data)
    data[at:at] = random.randbytes(random.choice((1, 2, 4, 8, 30)))


def _splice(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    other = random.choice(pool)
    if other:
        start, at = random.randrange(len(other)), _place(random, data)
        length = random.randrange(1, 400)
        data[at : at + random.choice((0, length))] = other[start : start + length]


def _cut(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    if random.random() < 0.3:
        del data[_place(random, data) :]


def _move(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    at, length = _place(random, data), random.randrange(1, 100)
    piece = data[at : at + length]
    del data[at : at + length]
    at = _place(random, data)
    data[at:at] = piece


def _vr(random: Random, data: bytearray, pool: Sequence[bytes]) -> None:
    found = [match.start() for match in re.finditer(rb"[A-Z]{2}", data[:20_000])]
    if found:
        at = random.choice(found)
        data[at : at + 2] = random.choice(VRS)


CHANGES = (_flip, _set, _set, _number, _number, _remove, _repeat, _insert, _splice, _cut, _move, _vr)

WORDS = r"""
null ~ true no 0 -1 1 2 99999 1e9 .inf 0x10 0o7 1_000 2024-01-01 12:30:45 '' "" [] {} [[]] '{hash:7}' '{hash:10}'
60s 5m 2h 1d 500ms 0s 8MiB 1GB 10.0.0.0/8 ::1 localhost staging research default *a &a !!str ? - | > % @
"""
BITS = (
    "\t",
    "  ",
    " ",
    ":",
    ": ",
    "- ",
    "#",
    "'",
    '"',
    "\n",
    "\r\n",
    ",",
    "[",
    "]",
    "{",
    "}",
    "\\",
    "é",
    "\u2028",
    "\0",
    "x" * 300,
)


def edited(random: Random, data: bytes, pool: Sequence[bytes]) -> bytes:
    """A few random changes to a text of lines."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    others = random.choice(pool).decode("utf-8", "surrogateescape").split("\n")
    for _ in range(1 + min(int(random.expovariate(0.7)), 8)):
        at = random.randrange(len(lines) or 1)
        if not lines:
            lines = [""]
        random.choice(EDITS)(random, lines, at, others)
    changed = "\n".join(lines).encode("utf-8", "surrogateescape")
    return mutated(random, changed, pool) if random.random() < 0.1 else changed


def _other_word(random: Random, lines: list[str], at: int, others: list[str]) -> None:
    words = re.findall(r"[\w{}:.-]+", random.choice(others)) or ["x"]
    new = random.choice(WORDS.split()) if random.random() < 0.6 else random.choice(words)
    found = list(re.finditer(r"[^\s:,\[\]{}]+", lines[at]))
    if found:
        match = random.choice(found)
        lines[at] = lines[at][: match.start()] + new + lines[at][match.end() :]


def _bit(random: Random, lines: list[str], at: int, others: list[str]) -> None:
    column = random.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:column] + random.choice(BITS) + lines[at][column + random.randrange(2) :]


def _take_line(random: Random, lines: list[str], at: int, others: list[str]) -> None:
    lines.insert(at, random.choice((lines[at], random.choice(others), random.choice(lines))))


def _drop_line(random: Random, lines: list[str], at: int, others: list[str]) -> None:
    del lines[at]


def _indent(random: Random, lines: list[str], at: int, others: list[str]) -> None:
    lines[at] = " " * random.randrange(8) + lines[at].lstrip()


EDITS = (_other_word, _other_word, _other_word, _bit, _bit, _take_line, _drop_line, _indent)
