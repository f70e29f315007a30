"""`dicomnode quarantine`: what is withheld, and why."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

import click
from pydicom.uid import UID

from dicomnode.cli.options import SHORT, as_json, configured, open_journal, say_json, table, when
from dicomnode.config import Settings
from dicomnode.model import EXPLANATIONS, Withheld

HEAD = ("id", "project", "study", "received", "bytes", "SOP class", "reason", "where", "that is")


@click.group()
def quarantine() -> None:
    """Sealed originals that wait for a person."""


@quarantine.command("list")
@configured()
@click.option("--project", help="Only this project.")
@as_json
def list_(settings: Settings, project: str | None, as_json: bool) -> int:
    """List the withheld instances with the reason and the place in the data set; no values."""
    with closing(open_journal(settings)) as journal:
        found = journal.withheld_list(project=project)
    if as_json:
        say_json([asdict(each) | {"explanation": EXPLANATIONS[each.reason]} for each in found])
    elif found:
        click.echo(table(HEAD, [_row(each) for each in found], right={4}))
    else:
        click.echo("nothing is withheld")
    return 0


def _row(withheld: Withheld) -> tuple[str, ...]:
    return (
        withheld.quarantine,
        withheld.project,
        withheld.study_key[:SHORT] or "-",
        when(withheld.received_at),
        str(withheld.length),
        UID(withheld.sop_class).name or "-",
        str(withheld.reason),
        withheld.where or "-",
        EXPLANATIONS[withheld.reason],
    )
