"""What several commands share: the configuration option, JSON output and aligned tables."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from dicomnode import disk
from dicomnode.errors import DicomnodeError, PermanentError, StoreDamaged

if TYPE_CHECKING:  # commands on files need no database and no configuration: they start without
    from dicomnode.config import Settings
    from dicomnode.store.identity import IdentityBook
    from dicomnode.store.journal import Journal

DEFAULT = Path("/etc/dicomnode/dicomnode.yaml")
SHORT = 10  # characters of a key that tables show

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=DEFAULT,
    envvar="DICOMNODE_CONFIG",
    show_default=True,
    show_envvar=True,
    metavar="FILE",
    help="The configuration file.",
)


def configured(quiet: bool = True) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Gives a command --config and passes it the Settings; a quiet command logs warnings and worse only."""

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)
        def run(config_file: Path, **arguments: Any) -> R:
            from dicomnode import config
            from dicomnode.observe import log

            settings = config.load(config_file)
            if quiet:
                refuse_others(settings)
            level = {"level": "warning"} if quiet else {}
            log.configure(replace(settings, log=settings.log.model_copy(update=level)))
            return command(settings, **arguments)

        return config_option(run)

    return decorate


def refuse_others(settings: Settings) -> None:
    """Raise PermanentError where the storage directory is there and this user may not use it; it names its owner.

    Nobody writes where the file system is read-only: that is told where it is met.
    """
    directory = settings.storage.directory
    if os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return
    try:
        if not directory.is_dir():
            return
        if os.access(directory, os.R_OK | os.X_OK) and disk.is_read_only(directory):
            return
        owner = directory.owner()
    except (PermissionError, KeyError):  # it lies in a directory that this user may not enter, or its owner has no name
        raise PermanentError(f"this user may not use {directory}", "run it as the user that owns it") from None
    raise PermanentError(f"this user may not use {directory}", f"run it as {owner}, who owns it (sudo -u {owner})")


def open_journal(settings: Settings) -> Journal:
    """The journal, also while the node runs; raises StoreDamaged when there is none, PermanentError for other users."""
    from dicomnode.store.journal import Journal

    refuse_others(settings)
    path = settings.storage.directory / "journal.db"
    if not path.exists():
        raise StoreDamaged(f"there is no journal in {path.parent}", "start the node once, or name its --config")
    return Journal.open(path)


def open_book(settings: Settings) -> IdentityBook:
    """The identity book, also while the node runs; raises PermanentError for other users."""
    from dicomnode.store.identity import IdentityBook

    refuse_others(settings)
    return IdentityBook.open(settings.storage.directory / "identity.db", create=False)


def each_of(things: Sequence[T], what: str, work: Callable[[T], int]) -> int:
    """Do `work` with each, also after one for which it fails; the worst exit code. Of several the number is told."""
    code = 0
    for number, thing in enumerate(things, start=1):
        try:
            code = max(code, work(thing))
        except DicomnodeError as error:
            if len(things) == 1:
                raise
            click.echo(f"dicomnode: {what} {number}: {error}", err=True)
            code = max(code, 1)
    return code


def say_json(document: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, default=str))


def counted(number: object, noun: str) -> str:
    """1 instance, 2 instances."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def when(seconds: float) -> str:
    """A moment in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Aligned columns under a heading; those numbered in `right` are aligned to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def aligned(line: Sequence[str]) -> str:
        cells = zip(line, widths, strict=True)
        padded = [cell.rjust(width) if n in right else cell.ljust(width) for n, (cell, width) in enumerate(cells)]
        return "  ".join(padded).rstrip()

    return "\n".join(aligned(line) for line in lines)
