"""`dicomnode run`: one batch of reviewed studies, with an audit trail, restartable from where it failed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from dicomnode import running
from dicomnode.cli import lists
from dicomnode.cli.options import configured, open_book, open_journal
from dicomnode.cli.retrieve import enter
from dicomnode.config import Settings
from dicomnode.deidentify.descriptors import NOTHING, Cleaner
from dicomnode.running import Ask
from dicomnode.runs import Options, Run
from dicomnode.runs import folder as files
from dicomnode.runs.folder import Overview, RunFolder, minute
from dicomnode.runs.reviews import COLUMNS, Reviewed, reviewed
from dicomnode.store.jobs import Line

NOT_SHOWN = "(withheld: it has words that are not clinical; dicomnode reidentify --run shows it)"


@click.command()
@configured()
@click.option("--list", "file", metavar="FILE", help="The reviewed list (CSV); - is standard input.")
@click.option("--max", "-m", "most", type=click.IntRange(1), help="Take so many studies at most.")
@click.option("--restart", "-r", is_flag=True, help="Go on with the newest run from where it failed.")
@click.option("--run", "of", metavar="FOLDER", type=click.Path(path_type=Path), help="With -r: go on with this run.")
@click.option("--practice", "-p", is_flag=True, help="Do everything but the push, on a throw-away store.")
@click.option("--no-push", "-n", is_flag=True, help="Stop before the push; -r pushes later.")
@click.option("--modalities", "-a", metavar="CT,MR", help="Take only these; others are withheld.")
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Where runs lie."
)
@click.option("--keep-clean", is_flag=True, help="Leave the clean files in to_production.")
@click.option("--now", "any_time", is_flag=True, help="Outside of the source's off-peak hours too.")
@click.option("--project", help="For which project; needed when the configuration has several.")
def run(
    settings: Settings,
    file: str | None,
    most: int | None,
    restart: bool,
    of: Path | None,
    practice: bool,
    no_push: bool,
    modalities: str | None,
    data: Path,
    keep_clean: bool,
    any_time: bool,
    project: str | None,
) -> int:
    """Retrieve, de-identify and push the studies of a reviewed list; data/run_at_<seconds> tells all of it."""
    if restart == (file is not None):
        raise click.UsageError("name the reviewed studies with --list FILE, or go on with -r")
    if of is not None and not restart:
        raise click.UsageError("--run says which run -r goes on with")
    if restart and practice:
        raise click.UsageError("a practice run leaves nothing to go on with")
    options = Options(push=not no_push, practice=practice, keep_clean=keep_clean, restart=restart, show=click.echo)
    asked: dict[str, object] = {"project": project, "any_time": any_time}
    asked |= {"modalities": ",".join(word.strip().upper() for word in (modalities or "").split(",") if word.strip())}
    studies = [] if file is None else _reviewed(lists.read(file))[:most]

    def talk(ask: Ask, settings: Settings) -> int:
        if restart:
            folder = RunFolder.newest(data) if of is None else RunFolder.named(of)
            _begin(folder)
        else:
            folder = RunFolder.new(data)
            if not _set_up(folder, ask, settings, studies, asked):
                return 1
        with closing(open_book(settings)) as book, closing(open_journal(settings)) as journal:
            return Run(settings, folder, ask, book, journal, options).work()

    return running.practise(settings, talk) if practice else running.converse(settings, lambda ask: talk(ask, settings))


def _reviewed(text: str) -> list[Reviewed]:
    rows = lists.table(text, COLUMNS)
    if rows is None:
        raise click.UsageError("the reviewed list is no CSV with a heading such as study_uid, has_phi, relevant")
    for number, row in rows:
        lists.study(row.get("study", ""), f"line {number} of the list")
    return reviewed(rows)


def _begin(folder: RunFolder) -> None:
    click.echo(f"Working directory will be {folder.path}")
    with closing(Overview(folder, click.echo)) as overview:
        overview.say(f"Starting at {minute()}")


def _set_up(folder: RunFolder, ask: Ask, settings: Settings, studies: list[Reviewed], asked: dict[str, object]) -> bool:
    """Enter the studies and write what there is to say before the first is fetched; False where a person must look."""
    _begin(folder)
    with closing(Overview(folder, click.echo)) as overview:
        if not studies:
            overview.say("0 valid reviewed studies. Please review comments.txt")
            click.echo("no study of the list is reviewed, relevant and free of PHI")
            return False
        told = {**asked, "run": str(folder.path), "paused": True, "priority": 0, "most": 0}
        number = enter(ask, [Line("study", study.uid) for study in studies], told)
        names = _names(settings, number)
        reviews = [[names[s.uid], s.protocol, comment] for s in studies for comment in s.comments or [""]]
        ask({"command": "run", "do": "review", "retrieval": number, "reviews": reviews}, lambda _: None)
        folder.write(files.COMMENTS, _comments(studies, names))
        for study in studies:
            if study.conflicting:
                line = (
                    f"Study {names[study.uid]} has conflicting reviews, please address manually and continue pipeline. "
                    "If an issue is found, remove the uid from studies_to_retrieve.txt."
                )
                overview.say(line)
        folder.write(files.STUDIES, [names[study.uid] for study in studies])
        overview.say(f"{len(studies)} valid reviewed studies. Please review comments.txt")
    return not any(study.conflicting for study in studies)


def _names(settings: Settings, number: object) -> dict[str, str]:
    """The pseudonym of each study asked for."""
    from dicomnode.runs.steps import pages

    with closing(open_book(settings)) as book:
        return {job.value: job.name for job in pages(book.jobs, int(str(number)))}


def _comments(studies: list[Reviewed], names: dict[str, str]) -> list[str]:
    """Each study with its comments; one that has any word beside known clinical ones is not shown."""
    cleaner = Cleaner()
    said = []
    for study in studies:
        said.append(f"{names[study.uid]}:")
        shown = (comment if cleaner.clean(comment, NOTHING) == comment else NOT_SHOWN for comment in study.comments)
        said += [f"\t{comment}" for comment in shown]
    return said
