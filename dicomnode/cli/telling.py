"""Progress of a retrieval, as lines for people or as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping

import click

from dicomnode.cli.options import SHORT, counted
from dicomnode.hours import duration

MANY = 50  # of more studies than these only what is wrong is told one by one
TELL_EVERY = 60.0  # seconds between lines of progress where they cannot be rewritten
NOT_WHOLE = ("incomplete", "failed", "unknown", "ambiguous", "wrong-modality")
GOOD = ("study-found", "study-arrived", "study", "moving", "gap-fetched")


class Telling:
    """Turns the node's reports into lines; one line that is rewritten while a C-MOVE runs on a terminal."""

    def __init__(self, count: int, as_json: bool) -> None:
        self._count = count
        self._as_json = as_json
        self._ended: dict[object, str] = {}
        self._states: Mapping[str, int] = {}
        self._why = ""
        self._rewritable = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._told_at = time.monotonic()

    def entered(self, number: object) -> None:
        """The request is kept; it has a number."""
        if self._as_json:
            click.echo(json.dumps({"event": "entered", "retrieval": number, "asked": self._count}))
        elif self._count > 1:
            click.echo(f"retrieval {number}: {self._count} asked for; dicomnode jobs tells how far it is")

    def report(self, document: dict[str, object]) -> None:
        """Tell one report."""
        if self._as_json:
            click.echo(json.dumps(document, default=str))
            return
        event = document.get("event")
        if event == "study":
            self._ended[document.get("number")] = str(document.get("state"))
        if event == "progress":
            self._progress(document)
            return
        if self._count > MANY and event in GOOD:
            return
        text = _text(document)
        if text and event != "moving":
            click.echo(f"\r\033[K{text}" if self._rewritable else text)
        elif text and self._rewritable:
            click.echo(f"\r\033[K{text}", nl=False)

    def _progress(self, document: Mapping[str, object]) -> None:
        self._states, why = _states(document), str(document.get("why") or "")
        if self._count == 1:
            if why and why != self._why:
                click.echo(f"not yet: {why}")
            self._why = why
            return
        if self._rewritable:
            click.echo(f"\r\033[K{progress(document)}", nl=False)
        elif (why and why != self._why) or time.monotonic() - self._told_at > TELL_EVERY:
            self._told_at, self._why = time.monotonic(), why
            click.echo(progress(document))

    def end(self, code: int) -> None:
        """The verdict."""
        if not self._as_json:
            good = sum(state in ("forwarded", "confirmed") for state in self._ended.values())
            count = _wanted(self._states) or self._count
            click.echo(
                ("\r\033[K" if self._rewritable else "")
                + f"{good} of {count} {'study' if count == 1 else 'studies'} delivered"
                + _left_out(self._states)
                + ("" if code == 0 else "; see dicomnode studies and dicomnode jobs --all")
            )


def progress(document: Mapping[str, object]) -> str:
    """How far a retrieval is, on one line: `document` is a store.jobs.Progress, as a mapping."""
    states = _states(document)
    total, waiting = _wanted(states), states.get("waiting", 0) + states.get("moving", 0)
    text = f"{total - waiting} of {total} done, {counted(document.get('here'), 'instance')} here"
    text += "".join(f", {states[state]} {state}" for state in NOT_WHOLE if states.get(state)) + _left_out(states)
    rate, left = document.get("rate"), document.get("left")
    if isinstance(rate, float) and rate and waiting:
        text += f", {rate * 60:.1f} studies a minute"
    if isinstance(left, float):
        text += f", about {duration(left)} left"
    return f"{text}; {document['why']}" if document.get("why") else text


def _states(document: Mapping[str, object]) -> Mapping[str, int]:
    """The jobs by state."""
    told = document.get("states")
    return told if isinstance(told, Mapping) else {}


def _wanted(states: Mapping[str, int]) -> int:
    """The jobs that are, or were, to be fetched: not those that became others, nor those left out."""
    return sum(count for state, count in states.items() if state not in ("resolved", "cancelled"))


def _left_out(states: Mapping[str, int]) -> str:
    return f", {states['cancelled']} left out" if states.get("cancelled") else ""


def _text(document: Mapping[str, object]) -> str:
    event, number = document.get("event"), document.get("number", 0)
    if event == "source-waits":
        seconds = document.get("seconds")
        again = (
            f"tried again in {duration(seconds)}" if isinstance(seconds, float) else "nothing is fetched before that"
        )
        return f"{document.get('error')}; {again}"
    if event == "gave-up":
        return (
            f"{document.get('source')} failed {document.get('times')} times in a row, so this command gives up; "
            "what is left is kept, and dicomnode serve fetches it"
        )
    if event == "retrieval-ended":
        return ""
    kind = "study" if document.get("study") or event != "job" else str(document.get("kind"))
    who = f"{kind} {int(str(number)) + 1} ({str(document.get('study', ''))[:SHORT]})".replace(" ()", "")
    what = _what(document)
    return f"{who}: {what}" if what else ""


def _what(document: Mapping[str, object]) -> str:
    match document.get("event"):
        case "study-found":
            expected = document.get("expected")
            return "at the source" if expected is None else f"{counted(expected, 'instance')} at the source"
        case "moving":
            return f"{counted(document.get('completed'), 'instance')} sent by the source"
        case "move-ended":
            return f"{document.get('source')} ended C-MOVE: {document.get('text')}; see dicomnode check and the log"
        case "move-turned-away":
            who = f"{document.get('calling')} at {document.get('address')} called {document.get('called')}"
            return (
                f"{who} meanwhile and was rejected: {document.get('why')}; correct peers.* here, or the AE title there"
            )
        case "move-unheard":
            us, source = document.get("ae_title"), document.get("source")
            return f"{source} did not call us; correct the host and port that it has for {us}, see dicomnode check"
        case "gap-fetched":
            return f"{counted(document.get('missing'), 'instance')} did not come, asked for again"
        case "study-arrived":
            expected = document.get("expected")
            here = counted(document.get("here"), "instance")
            return f"{here} here" if expected is None else f"{here} of {expected} here"
        case "study-unknown":
            return f"{document.get('source')} does not know it"
        case "retrieve-failed":
            return ""  # what comes of it is told with the job
        case "study":
            withheld = f", {document['withheld']} withheld" if document.get("withheld") else ""
            evidence = f" ({document['evidence']})" if document.get("evidence") else ""
            return f"{document.get('state')}, {document.get('stored')} stored{withheld}{evidence}"
        case "delivery-waits":
            return f"not delivered yet: {document.get('error')}; the node tries again"
        case "job":
            return _job(document)
        case event:
            return str(event)


def _job(document: Mapping[str, object]) -> str:
    """What came of a job, where nothing else has said so."""
    match document.get("state"):
        case "resolved":
            return f"{document.get('expected')} found"
        case "unknown" if document.get("kind") == "study":
            return ""
        case "arrived" | "incomplete":
            return ""
        case "waiting":
            return f"put off: {document.get('error')}" if document.get("attempts") else ""
        case "failed":
            return f"not retrieved: {document.get('error')}"
        case state:
            return f"{state}: {document.get('error')}" if document.get("error") else str(state)
