"""`dicomnode check`: whether this configuration can work, and whether the node runs."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from dicomnode import config
from dicomnode.cli import health
from dicomnode.cli.finding import Finding
from dicomnode.cli.options import as_json, config_option, refuse_others, say_json
from dicomnode.config import Settings

WRONG_USE = 2  # like every command whose configuration or rules cannot be used
FILES = ("configuration", "rules of")


@click.command()
@config_option
@click.option("--running", is_flag=True, help="Only say whether the node runs and answers (for health checks).")
@click.option("--source", metavar="NAME", help="Have this source move one instance to us and see that it comes here.")
@click.option("--study", metavar="UID", help="With --source: an instance of this study.")
@as_json
def check(config_file: Path, running: bool, source: str | None, study: str | None, as_json: bool) -> int:
    """Check configuration, rules, keys, storage and peers. Exit 1 when something is wrong, 2 when a file is."""
    if running:
        return _runs(config.load(config_file), as_json)
    if source:
        return _moves_here(config.load(config_file), source, study)
    from dicomnode.cli.findings import findings  # rooms that a health check, twice a minute, does without
    from dicomnode.observe import log

    log.configure()
    found: list[Finding] = []
    for finding in findings(config_file):
        found.append(finding)
        if not as_json:
            click.echo(f"{finding.verdict:8}{finding.subject:24}{finding.text}")
    if as_json:
        say_json([asdict(finding) for finding in found])
    wrong = [finding.subject for finding in found if finding.verdict == "wrong"]
    return WRONG_USE if any(subject.startswith(FILES) for subject in wrong) else int(bool(wrong))


def _runs(settings: Settings, as_json: bool) -> int:
    refuse_others(settings)
    told = health.status(settings.storage.directory)
    text = "" if told is None else str(told["status"])
    if as_json:
        say_json({"running": told is not None, "status": text})
    else:
        click.echo(f"the node is running: {text}" if text else "the node does not answer; see its log")
    return int(told is None)


def _moves_here(settings: Settings, source: str, study: str | None) -> int:
    """The instance that comes is refused, so that nothing of it is kept or sent on."""
    from dicomnode import running
    from dicomnode.observe import log

    refuse_others(settings)
    quiet = settings.log.model_copy(update={"level": "critical"})  # what is wrong is the answer, and said once
    log.configure(replace(settings, log=quiet))

    def say(document: dict[str, object]) -> None:
        click.echo(f"what {document.get('source')} moves to {document.get('called')} comes here")

    request: dict[str, object] = {"command": "retrieve", "do": "check", "source": source, "study": study}
    return running.converse(settings, lambda ask: ask(request, say))
