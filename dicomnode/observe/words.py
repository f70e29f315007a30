"""Which words a log line may hold: those of our own program text, of the system's errors and the site's names.

A name, an ID or a date of a patient is none of them, so a sentence can be let through word by word.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

import dicomnode
from dicomnode.deidentify import suspicious
from dicomnode.deidentify.standard import dictionary

WITHHELD = "(withheld)"
NOT_OURS = ("demo",)  # rooms whose texts hold invented patients

_token = re.compile(r"\S+")
_word = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_edge = ".,;:!?\"'()[]{}<>…"
_tag = r"\(?[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\)?(?:\[\d{1,4}\])?"
_place = rf"(?:{_tag}|\(unknown\))"
_shapes = re.compile(
    r"-?\d{1,4}(?:\.\d{1,3})?(?:s|ms|m|h|d|%|B|KiB|MiB|GiB)?"  # a count, a time or a size; longer numbers may be IDs
    r"|0x[0-9A-Fa-f]{2,4}"  # a status
    rf"|{_place}(?:[/>.]{_place})*"  # where in a data set
    r"|(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?"  # an address
    r"|1\.2\.840\.10008\.[0-9.]{1,48}"  # the standard's own UIDs
    r"|[A-Za-z]+(?:Error|Exception|Warning)"  # the type of an exception
)
_digits = re.compile("([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})")


@cache
def vocabulary() -> frozenset[str]:
    """Every word in the package's string literals, names of pixel rules and the system's error texts; case counts."""
    root = Path(dicomnode.__file__).parent
    words = _words_of({rule.name for rule in suspicious.default().rules})
    words |= _words_of({os.strerror(number) for number in errno.errorcode})
    for file in root.rglob("*.py"):
        if file.relative_to(root).parts[0] not in NOT_OURS:
            code = SourceFileLoader("dicomnode", str(file)).get_code("dicomnode")
            texts: set[str] = set()
            _collect(code.co_consts if code else (), texts)
            words |= _words_of(texts)
    return frozenset(words)


def _words_of(texts: set[str]) -> set[str]:
    return set(_word.findall("\n".join(texts)))


def _collect(constants: Iterable[object], texts: set[str]) -> None:
    """Add every string among the constants of compiled code. Not by `ast`: two threads that parse can fail (3.11)."""
    for each in constants:
        if isinstance(each, str):
            texts.add(each)
        elif isinstance(each, CodeType):
            _collect(each.co_consts, texts)
        elif isinstance(each, tuple | frozenset):
            _collect(each, texts)


def only_known(sentence: str, names: frozenset[str] = frozenset()) -> str:
    """The sentence on one line, with each unknown word replaced; `names` are the site's own."""
    return " ".join(_judged(token, names) for token in _token.findall(sentence))


def _judged(token: str, names: frozenset[str]) -> str:
    core = token.strip(_edge)
    if not core or core in names or token in names or _is_shape(core) or _is_shape(token.strip(",;:")):
        return token
    host, colon, port = core.rpartition(":")
    if colon and host in names and re.fullmatch(r"\d{1,5}", port):
        return token
    parts = re.split(r"[-_./=:@]", core.removeprefix("--"))  # an option of a command that a hint names
    known = vocabulary()
    if core in known or all(part in known or part in names for part in parts):
        return token
    return WITHHELD


def _is_shape(text: str) -> bool:
    """A known shape; tags count only where they are the standard's, for others may be bytes of a value."""
    tags = (int(group + element, 16) for group, element in _digits.findall(text))
    return _shapes.fullmatch(text) is not None and all(map(dictionary.is_standard, tags))
