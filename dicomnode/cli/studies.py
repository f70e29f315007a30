"""`dicomnode studies`: what became of each study, in pseudonyms, and what people can do about it."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource

from dicomnode import config
from dicomnode.cli import story
from dicomnode.cli import whose as whose_studies
from dicomnode.cli.options import (
    SHORT,
    as_json,
    config_option,
    configured,
    counted,
    each_of,
    open_book,
    open_journal,
    say_json,
    table,
    when,
)
from dicomnode.config import Settings
from dicomnode.deidentify import acceptance
from dicomnode.errors import PermanentError
from dicomnode.model import Delivery, DeliveryState, Study, StudyState
from dicomnode.observe import log
from dicomnode.outbox import Outbox
from dicomnode.store.journal import Journal
from dicomnode.studies import DECISIONS, Fact

HEAD = (
    "study",
    "project",
    "patient",
    "state",
    "stored",
    "withheld",
    "expected",
    "last instance",
    "sent to",
    "evidence",
)
WATCH_EVERY = 2.0  # seconds
ID = click.argument("id_", metavar="ID")
PROJECT = click.option("--project", help="Only this project.")

Row = tuple[Study, list[Delivery]]


@click.group(invoke_without_command=True)
@config_option
@PROJECT
@click.option("--state", type=click.Choice([str(state) for state in StudyState]), help="Only studies in this state.")
@click.option(
    "--of",
    "whose",
    metavar="VALUE",
    help="Only those of this patient, accession number or study: as at the source, or as at research.",
)
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the newest N.")
@click.option("--watch", is_flag=True, help="Show the list, or what of it fits, until interrupted.")
@as_json
@click.pass_context
def studies(
    ctx: click.Context,
    config_file: Path,
    project: str | None,
    state: str | None,
    whose: str | None,
    last: int | None,
    watch: bool,
    as_json: bool,
) -> int:
    """List the studies: state, counts, destinations, and why each counts as complete."""
    if ctx.invoked_subcommand is not None:
        if ctx.get_parameter_source("config_file") is ParameterSource.COMMANDLINE:
            ctx.default_map = {name: {"config_file": str(config_file)} for name in studies.commands}
        return 0
    settings = config.load(config_file)
    log.configure()
    while True:
        with closing(open_journal(settings)) as journal:
            rows = _found(journal, project, state)
        if whose is not None:
            with closing(open_book(settings)) as book:
                mine = whose_studies.chosen(book, [study for study, _ in rows], whose)
            rows = [row for row in rows if row[0] in mine]
        _tell(rows[-last:] if last else rows, as_json, clear=watch and not as_json)
        if not watch:
            return 0
        time.sleep(WATCH_EVERY)


def _found(journal: Journal, project: str | None, state: str | None) -> list[Row]:
    found = journal.studies(project=project, states=[StudyState(state)] if state else None)
    deliveries: dict[tuple[str, str], list[Delivery]] = {}
    for delivery in journal.deliveries(project=project):
        deliveries.setdefault((delivery.project, delivery.study_key), []).append(delivery)
    return [(study, deliveries.get((study.project, study.study_key), [])) for study in found]


def _tell(rows: list[Row], as_json: bool, *, clear: bool) -> None:
    if clear:
        click.clear()
        told, shown = f"{when(time.time())}  {len(rows)} {'study' if len(rows) == 1 else 'studies'}", _fitting(rows)
        click.echo(f"{told}, the newest {len(shown)}\n" if len(shown) < len(rows) else f"{told}\n")
        rows = shown
    if as_json:
        say_json([asdict(study) | {"deliveries": [asdict(each) for each in ways]} for study, ways in rows])
    elif rows:
        click.echo(table(HEAD, [_row(study, ways) for study, ways in rows], right={4, 5, 6}))
    else:
        click.echo("no studies")


def _fitting(rows: list[Row]) -> list[Row]:
    """The newest rows, as many as fit on the terminal below the heading."""
    return rows[-max(1, shutil.get_terminal_size().lines - 4) :] if sys.stdout.isatty() else rows


def _row(study: Study, deliveries: list[Delivery]) -> tuple[str, ...]:
    return (
        study.study_key[:SHORT],
        study.project,
        study.patient,
        _state(study),
        str(study.stored),
        str(study.withheld),
        "-" if study.expected is None else str(study.expected),
        when(study.last_at),
        "; ".join(_delivery(delivery) for delivery in deliveries) or "-",
        study.evidence or "-",
    )


def _state(study: Study) -> str:
    marks = [str(study.state)]
    marks += ["amended"] if study.amended else []
    return ", ".join(marks + ([f"{study.missing} missing"] if study.missing else []))


def _delivery(delivery: Delivery) -> str:
    text = f"{delivery.destination} {delivery.state}"
    if delivery.state is DeliveryState.WAITING and delivery.attempts and delivery.next_at > time.time():
        text += f" until {when(delivery.next_at)}"
    if delivery.failed:
        text += f", {delivery.failed} refused"
    return f"{text} ({delivery.error})" if delivery.error else text


@studies.command()
@configured()
@ID
@PROJECT
@as_json
def show(settings: Settings, id_: str, project: str | None, as_json: bool) -> int:
    """Tell one study's whole story as a time line.

    ID is the beginning of its key or of its UID at research, or the whole UID that it has at the source.
    """
    with closing(open_journal(settings)) as journal:
        study = whose_studies.named(settings, journal, id_, project)
        told = story.tell(journal, study)
    if as_json:
        say_json(told)
    else:
        click.echo("\n".join(story.lines(told)))
    return 0


@studies.command()
@configured()
@ID
@PROJECT
def report(settings: Settings, id_: str, project: str | None) -> int:
    """Print what the rules' conditions said of each instance of a study, as JSON.

    The keys are those of Encord's de-identification report. It shows IDENTIFIED VALUES: original UIDs, and the values
    that the conditions asked for. It comes from the identity book.
    """
    with closing(open_journal(settings)) as journal:
        study = whose_studies.named(settings, journal, id_, project)
        may_go = journal.may_go(study.project, study.study_key)
    with closing(open_book(settings)) as book:
        told = book.judged(study.project, study.study_key)
    if not told:
        raise PermanentError(
            "nothing was asked of this study's instances", "the rules have no accept_if or withhold_if"
        )
    say_json(acceptance.report(told, {acceptance.address(uid) for uid in may_go}))
    return 0


def _decision(fact: Fact) -> click.Command:
    @studies.command(str(fact), help=f"{DECISIONS[fact][0].upper()}{DECISIONS[fact][1:]}.")
    @configured()
    @click.argument("ids", metavar="ID...", nargs=-1, required=True)
    @PROJECT
    def decide(settings: Settings, ids: tuple[str, ...], project: str | None) -> int:
        from dicomnode import running

        def report(document: dict[str, object]) -> None:
            why = f" ({document['why']})" if document.get("why") else ""
            click.echo(f"{str(document.get('study'))[:SHORT]}: {document.get('state')}{why}")

        requests: list[dict[str, object]] = [{"do": str(fact), "id": id_, "project": project} for id_ in ids]
        return each_of(requests, "ID", lambda request: running.study(settings, request, report))

    return decide


for _fact in DECISIONS:
    _decision(_fact)


@studies.command()
@configured()
@ID
@PROJECT
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="The folder; it is created.")
def export(settings: Settings, id_: str, project: str | None, folder: Path) -> int:
    """Write the clean instances as DICOM files (PS3.10) into a folder: SERIES/INSTANCE.dcm, UIDs as at research."""
    with closing(open_journal(settings)) as journal:
        study = whose_studies.named(settings, journal, id_, project)
        placed = journal.instances(study.project, study.study_key)
    if not placed:
        raise PermanentError(
            "nothing of this study is in the outbox any more",
            "ask a destination that has it; with storage.keep: segments the node keeps what comes from then on",
        )
    outbox = Outbox(settings.storage.directory / "outbox", {})
    for instance, location in placed:
        path = folder / instance.series_uid / f"{instance.sop_uid}.dcm"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            outbox.write_file(location, path, new=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise PermanentError(f"{error.filename} is there already", "name a new folder") from None
    click.echo(f"{counted(len(placed), 'instance')} in {folder}")
    return 0
