"""`dicomnode retrieve`: fetch studies from the source, with progress and a verdict."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping

import click

from dicomnode.cli.options import SHORT, as_json, configured, counted
from dicomnode.config import Settings

_uid = re.compile(r"[0-9]+(\.[0-9]+)*")


@click.command()
@configured()
@click.option(
    "--study",
    "given",
    multiple=True,
    required=True,
    metavar="UID",
    help="A Study Instance UID as the source knows it; repeatable; - reads them from standard input, one per line.",
)
@click.option("--project", help="For which project; needed when the configuration has several.")
@as_json
def retrieve(settings: Settings, given: tuple[str, ...], project: str | None, as_json: bool) -> int:
    """Fetch studies by C-MOVE, de-identify and forward them. Exit 0 when every study was delivered whole."""
    from dicomnode import running

    studies = _studies(given)
    telling = Telling(len(studies), as_json)
    code = running.retrieve(settings, studies, telling.report, project)
    telling.end(code)
    return code


def _studies(given: tuple[str, ...]) -> list[str]:
    """The UIDs asked for, each once; a wrong one is named by its number, for it may identify."""
    words = [word for each in given for word in (sys.stdin.read().split() if each == "-" else [each])]
    for number, word in enumerate(words, 1):
        if len(word) > 64 or not _uid.fullmatch(word):
            raise click.UsageError(f"study {number} is not a UID: up to 64 digits and dots")
    if not words:
        raise click.UsageError("no study is named")
    return list(dict.fromkeys(words))


class Telling:
    """Turns the node's reports into lines; one line that is rewritten while a C-MOVE runs on a terminal."""

    def __init__(self, count: int, as_json: bool) -> None:
        self._count = count
        self._as_json = as_json
        self._ended: dict[object, str] = {}
        self._rewritable = sys.stdout.isatty()

    def report(self, document: dict[str, object]) -> None:
        """Tell one report."""
        if self._as_json:
            click.echo(json.dumps(document, default=str))
            return
        if document.get("event") == "study":
            self._ended[document.get("number")] = str(document.get("state"))
        text = _text(document)
        if document.get("event") != "moving":
            click.echo(f"\r\033[K{text}" if self._rewritable else text)
        elif self._rewritable:
            click.echo(f"\r\033[K{text}", nl=False)

    def end(self, code: int) -> None:
        """The verdict."""
        if not self._as_json:
            good = sum(state in ("forwarded", "confirmed") for state in self._ended.values())
            click.echo(
                f"{good} of {self._count} {'study' if self._count == 1 else 'studies'} delivered"
                + ("" if code == 0 else "; see dicomnode studies")
            )


def _text(document: Mapping[str, object]) -> str:
    number = document.get("number", 0)
    who = f"study {int(str(number)) + 1} ({str(document.get('study', ''))[:SHORT]})".replace(" ()", "")
    return f"{who}: {_what(document)}"


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
            return f"not retrieved: {document.get('error')}"
        case "study":
            withheld = f", {document['withheld']} withheld" if document.get("withheld") else ""
            evidence = f" ({document['evidence']})" if document.get("evidence") else ""
            return f"{document.get('state')}, {document.get('stored')} stored{withheld}{evidence}"
        case event:
            return str(event)
