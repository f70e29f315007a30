"""`dicomnode studies`: what became of each study, in pseudonyms."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

import click

from dicomnode.cli.options import SHORT, as_json, configured, open_journal, say_json, table, when
from dicomnode.config import Settings
from dicomnode.model import Delivery, DeliveryState, Study, StudyState

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


@click.command()
@configured()
@click.option("--project", help="Only this project.")
@click.option("--state", type=click.Choice([str(state) for state in StudyState]), help="Only studies in this state.")
@as_json
def studies(settings: Settings, project: str | None, state: str | None, as_json: bool) -> int:
    """List the studies: state, counts, destinations, and why each counts as complete."""
    with closing(open_journal(settings)) as journal:
        found = journal.studies(project=project, states=[StudyState(state)] if state else None)
        deliveries: dict[tuple[str, str], list[Delivery]] = {}
        for delivery in journal.deliveries(project=project):
            deliveries.setdefault((delivery.project, delivery.study_key), []).append(delivery)
    rows = [(study, deliveries.get((study.project, study.study_key), [])) for study in found]
    if as_json:
        say_json([asdict(study) | {"deliveries": [asdict(each) for each in ways]} for study, ways in rows])
    elif rows:
        click.echo(table(HEAD, [_row(study, ways) for study, ways in rows], right={4, 5, 6}))
    else:
        click.echo("no studies")
    return 0


def _row(study: Study, deliveries: list[Delivery]) -> tuple[str, ...]:
    return (
        study.study_key[:SHORT],
        study.project,
        study.patient,
        f"{study.state}, amended" if study.amended else str(study.state),
        str(study.stored),
        str(study.withheld),
        "-" if study.expected is None else str(study.expected),
        when(study.last_at),
        "; ".join(_delivery(delivery) for delivery in deliveries) or "-",
        study.evidence or "-",
    )


def _delivery(delivery: Delivery) -> str:
    text = f"{delivery.destination} {delivery.state}"
    if delivery.state is DeliveryState.WAITING and delivery.attempts:
        text += f" until {when(delivery.next_at)}"
    if delivery.failed:
        text += f", {delivery.failed} refused"
    return f"{text} ({delivery.error})" if delivery.error else text
