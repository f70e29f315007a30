"""One line of `dicomnode check`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dicomnode.errors import DicomnodeError


@dataclass(frozen=True, slots=True)
class Finding:
    """`verdict` is ok, warning or wrong; `text` says what, and what to do."""

    verdict: str
    subject: str
    text: str


def tried(subject: str, work: Callable[[], str]) -> Finding:
    """What `work` says, or the error that it raises."""
    try:
        return Finding("ok", subject, work())
    except DicomnodeError as error:
        return Finding("wrong", subject, str(error))
