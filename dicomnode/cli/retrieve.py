"""`dicomnode retrieve`: fetch studies from the source, with progress and a verdict."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from dicomnode.cli import lists
from dicomnode.cli.options import as_json, configured
from dicomnode.cli.telling import Telling
from dicomnode.config import Settings
from dicomnode.errors import NodeEnded
from dicomnode.store.jobs import Line

if TYPE_CHECKING:
    from dicomnode.running import Ask

PART = 2000  # lines that are handed over at once


@click.command()
@configured()
@click.option(
    "--study",
    "studies",
    multiple=True,
    metavar="UID",
    help="A Study Instance UID as the source knows it; repeatable; - reads them from standard input, one per line.",
)
@click.option("--accession", "accessions", multiple=True, metavar="NUMBER", help="An accession number; repeatable.")
@click.option("--patient", "patients", multiple=True, metavar="ID", help="All studies of a patient ID; repeatable.")
@click.option(
    "--date", "dates", metavar="DAYS", help="Only studies of these days: 20240131, 20240101-20240131, 2024-01-01.."
)
@click.option("--modality", "modalities", multiple=True, metavar="CT,MR", help="Only studies with one of these.")
@click.option(
    "--list", "file", metavar="FILE", help="A list: CSV with a heading, or one UID or accession number per line; -."
)
@click.option("--max-studies", "-m", "most", type=click.IntRange(1), help="Fetch so many studies at most.")
@click.option("--priority", type=click.IntRange(-9, 9), default=0, show_default=True, help="Higher comes first.")
@click.option("--now", "any_time", is_flag=True, help="Outside of the source's off-peak hours too.")
@click.option("--no-wait", is_flag=True, help="Leave the work to the running node and end.")
@click.option("--project", help="For which project; needed when the configuration has several.")
@as_json
def retrieve(
    settings: Settings,
    studies: tuple[str, ...],
    accessions: tuple[str, ...],
    patients: tuple[str, ...],
    dates: str | None,
    modalities: tuple[str, ...],
    file: str | None,
    most: int | None,
    priority: int,
    any_time: bool,
    no_wait: bool,
    project: str | None,
    as_json: bool,
) -> int:
    """Fetch studies by C-MOVE, de-identify and forward them. Exit 0 when every study was delivered whole.

    What is asked for is kept: a running node works it off, also when this command has ended (dicomnode jobs).
    """
    from dicomnode import running

    if dates and not (accessions or patients):
        raise click.UsageError("--date goes with --patient or --accession; a list has a column for it")
    asked = list(dict.fromkeys([*lists.options(studies, accessions, patients, dates), *_listed(file)]))
    if not asked:
        raise click.UsageError("nothing is asked for: --study, --accession, --patient or --list")
    if no_wait and not running.is_there(settings):
        raise click.UsageError("--no-wait leaves the work to a running node, and none runs: dicomnode serve")
    telling = Telling(len(asked), as_json)
    told: dict[str, object] = {
        "project": project,
        "priority": priority,
        "modalities": ",".join(word.strip().upper() for each in modalities for word in each.split(",") if word.strip()),
        "most": most or 0,
        "any_time": any_time,
    }

    def talk(ask: Ask) -> int:
        number = enter(ask, asked, told)
        telling.entered(number)
        if no_wait:
            return 0
        try:
            return ask({"command": "retrieve", "do": "follow", "retrieval": number}, telling.report)
        except NodeEnded as error:
            kept = f"retrieval {number} is kept and goes on when it starts again: dicomnode jobs"
            raise NodeEnded(error.what, kept) from None

    code = running.converse(settings, talk)
    if not no_wait:
        telling.end(code)
    return code


def _listed(file: str | None) -> list[Line]:
    return [] if file is None else list(lists.lines(lists.read(file)))


def enter(ask: Ask, asked: list[Line], told: dict[str, object]) -> object:
    """Hand over what is asked for, in parts; the number of the retrieval. It is worked once all of it is there."""
    answers: list[dict[str, object]] = []
    parts, number = iter(asked), None
    part = list(islice(parts, PART))
    while part:
        following = list(islice(parts, PART))
        lines = [[each.kind, each.value, each.patient, each.since, each.until] for each in part]
        request = {"command": "retrieve", "do": "enter", "retrieval": number, "lines": lines, "last": not following}
        ask({**told, **request}, answers.append)
        number, part = answers[-1]["retrieval"], following
    return number
