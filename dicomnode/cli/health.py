"""Whether the node runs, what of its studies waits, and what of them a person should look at."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dicomnode import control
from dicomnode.cli.finding import Finding
from dicomnode.cli.options import counted, when
from dicomnode.model import StudyState

ANSWER = 10.0  # seconds
WAITING = (StudyState.RECEIVING, StudyState.COMPLETE, StudyState.FORWARDING, StudyState.FORWARDED)
TO_LOOK_AT = (StudyState.INCOMPLETE, StudyState.FAILED, StudyState.HELD, StudyState.WITHHELD)


def runs(directory: Path) -> bool:
    """Whether a node on this storage directory answers over its control socket within a few seconds."""
    return status(directory) is not None


def status(directory: Path) -> dict[str, Any] | None:
    """What the running node says of itself; None when none answers within a few seconds."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(ANSWER)
    try:
        answers = list(control.ask(directory, {"command": "status"}) or ()) if directory.is_dir() else []
        return answers[0] if answers and "status" in answers[0] else None
    except (OSError, ValueError):  # it ends, and what it began to say is cut off
        return None
    finally:
        socket.setdefaulttimeout(before)


def studies(journal: Path) -> Iterator[Finding]:
    """What waits and since when, and a warning for each state in which a study stays until a person does something."""
    from dicomnode.store.database import originals, survey  # who only asks the node needs no database

    found = {StudyState(state): value for state, value in survey(journal).items() if state in list(StudyState)}
    told = [
        f"{count} {state}" + (f" since {when(oldest)}" if state in WAITING else "")
        for state, (count, oldest) in found.items()
        if state not in TO_LOOK_AT
    ]
    if told:
        yield Finding("ok", "studies", ", ".join(told))
    for state in TO_LOOK_AT:
        if state in found:
            count, oldest = found[state]
            text = f"{count} {state}, the oldest since {when(oldest)}; see dicomnode studies --state {state}"
            yield Finding("warning", "studies", text)
    count, oldest = originals(journal)
    if count:
        text = f"{counted(count, 'withheld original')}, the oldest since {when(oldest)}; see dicomnode quarantine list"
        yield Finding("ok", "quarantine", text)
