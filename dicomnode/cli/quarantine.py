"""`dicomnode quarantine`: what is withheld and why, and what a person makes of it."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from pydicom.uid import UID

from dicomnode.cli import whose
from dicomnode.cli.options import SHORT, as_json, configured, open_journal, say_json, table, when
from dicomnode.config import Settings
from dicomnode.errors import CannotKeep, PermanentError, SealBroken
from dicomnode.model import EXPLANATIONS, Fate, Withheld
from dicomnode.quarantine import Quarantine

HEAD = ("id", "project", "study", "received", "bytes", "SOP class", "reason", "where", "that is")
MOMENTS = ("received_at", "fate_at")

DISCARDED = {
    None: "discarded",
    "keep": "discarded; what it keeps back stays in the outbox",
    "send": "discarded; what it kept back goes when the study is quiet, unless another original keeps it back",
    "delete": "discarded; what it kept back is deleted when nothing else of the study is left to send",
}

Ended = tuple[Fate, float]

ID = click.argument("id_", metavar="ID")
PROJECT = click.option("--project", help="Only this project.")


@click.group()
def quarantine() -> None:
    """Sealed originals that wait for a person. ID is one of `list`, or how it begins."""


@quarantine.command("list")
@configured()
@PROJECT
@click.option("--study", "study", metavar="ID", help="Only those of this study: ID as in dicomnode studies show.")
@click.option("--all", "everything", is_flag=True, help="Also those that were released or discarded.")
@as_json
def list_(settings: Settings, project: str | None, study: str | None, everything: bool, as_json: bool) -> int:
    """List the withheld instances with the reason and the place in the data set; no values."""
    with closing(open_journal(settings)) as journal:
        found: list[tuple[Withheld, Ended | None]] = []
        if everything:
            found += [(withheld, (fate, at)) for withheld, fate, at in journal.ended_list(project)]
        found += [(withheld, None) for withheld in journal.withheld_list(project=project)]
        if study is not None:
            mine = whose.named(settings, journal, study, project)
            key = (mine.project, mine.study_key)
            found = [each for each in found if (each[0].project, each[0].study_key) == key]
    if as_json:
        say_json([_document(*each) for each in found])
    elif found:
        head = (*HEAD, "fate") if everything else HEAD
        click.echo(table(head, [_row(*each)[: len(head)] for each in found], right={4}))
    else:
        click.echo("nothing is withheld")
    return 0


@quarantine.command()
@configured()
@ID
@PROJECT
@as_json
def show(settings: Settings, id_: str, project: str | None, as_json: bool) -> int:
    """Show the record of one withheld instance; pseudonymous, so looking at it is no access to the original."""
    with closing(open_journal(settings)) as journal:
        ended = [(withheld, (fate, at)) for withheld, fate, at in journal.ended_list(project)]
        waiting = [(withheld, None) for withheld in journal.withheld_list(project=project)]
    found = [each for each in (*waiting, *ended) if id_ and each[0].quarantine.startswith(id_)]
    if len(found) != 1:
        what = "several withheld originals begin so" if found else "no withheld original begins so"
        raise PermanentError(what, "dicomnode quarantine list --all shows the ids")
    told = _document(*found[0]) | {"sealed_under": _sealed_under(settings, found[0][0])}
    if as_json:
        say_json(told)
    else:
        told |= {name: when(at) for name, at in told.items() if isinstance(at, float) and name in MOMENTS}
        click.echo("\n".join(f"{name.replace('_', ' '):16}{value}" for name, value in told.items() if value != ""))
    return 0


@quarantine.command()
@configured()
@ID
@PROJECT
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="The file to write.")
def export(settings: Settings, id_: str, project: str | None, target: Path) -> int:
    """Write the identified original to a new DICOM file (mode 0600). The access is recorded."""
    from dicomnode import running

    if target.absolute().resolve().is_relative_to(settings.storage.directory.resolve()):
        raise click.UsageError("the storage directory holds nothing identified in the clear; name another place")
    with new_file(target) as file:

        def write(document: dict[str, object]) -> None:
            write_all(file, base64.b64decode(str(document["data"])))

        code = running.quarantine(settings, {"do": "export", "id": id_, "project": project}, write)
        if code:
            raise SealBroken("the node did not hand out the whole original", "look at its log")
    click.echo(f"{target} is the IDENTIFIED original as it was received; the export is recorded, delete it after use")
    return 0


@quarantine.command()
@configured()
@ID
@PROJECT
def release(settings: Settings, id_: str, project: str | None) -> int:
    """Put the original through today's rules: clean, it goes the normal way; in doubt, it stays sealed (exit 1)."""
    from dicomnode import running

    def tell(document: dict[str, object]) -> None:
        if document.get("event") == "kept":
            where = f" at {document['where']}" if document.get("where") else ""
            click.echo(f"stays withheld: {document['reason']}{where}: {document['explanation']}")
        else:
            click.echo("released: it is in the outbox, its study is open again and goes out when it is quiet")

    return running.quarantine(settings, {"do": "release", "id": id_, "project": project}, tell)


@quarantine.command()
@configured()
@ID
@PROJECT
@click.option("--yes", is_flag=True, help="Do it: there is no way back.")
@click.option(
    "--others",
    type=click.Choice(["keep", "send", "delete"]),
    help="What becomes of its series or study that it keeps back; also of one that was discarded before.",
)
def discard(settings: Settings, id_: str, project: str | None, yes: bool, others: str | None) -> int:
    """Delete the sealed original for good; its record stays.

    What failed the rules' conditions with it (series-conditions, study-conditions) stays in the outbox, unsent, unless
    --others says that it goes or is deleted.
    """
    from dicomnode import running

    if not yes:
        raise click.UsageError("this deletes the original for good; say --yes if that is meant")
    request: dict[str, object] = {"do": "discard", "id": id_, "project": project, "others": others}
    return running.quarantine(settings, request, lambda _: click.echo(DISCARDED[others]))


@contextmanager
def new_file(path: Path) -> Iterator[int]:
    """A file that was not there before, readable by its owner alone; it goes again when the work fails."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise PermanentError(f"{path} is there already", "name a new file") from None
    except OSError as error:
        raise PermanentError(f"cannot create {path}: {error.strerror}", "name another place") from None
    try:
        yield file
        os.fsync(file)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise CannotKeep(f"cannot write {path}: {error.strerror}", "make room, or name another place") from None
        raise
    finally:
        os.close(file)


def write_all(file: int, data: bytes) -> None:
    """Write all of it to a descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sealed_under(settings: Settings, withheld: Withheld) -> str:
    try:
        return Quarantine(settings.storage.directory / "quarantine", {}).sealed_under(
            withheld.project, withheld.quarantine
        )
    except (KeyError, SealBroken):
        return ""


def _document(withheld: Withheld, ended: Ended | None) -> dict[str, object]:
    fate, at = ended or ("", None)
    told = asdict(withheld) | {"explanation": EXPLANATIONS[withheld.reason], "fate": str(fate)}
    return told | ({} if at is None else {"fate_at": at})


def _row(withheld: Withheld, ended: Ended | None) -> tuple[str, ...]:
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
        f"{ended[0]} {when(ended[1])}" if ended else "-",
    )
