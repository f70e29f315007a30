"""`dicomnode jobs`: what is to be fetched, how far it is, and what people can do about it."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict
from datetime import datetime

import click
from click.core import ParameterSource

from dicomnode import config
from dicomnode.cli.options import SHORT, as_json, config_option, configured, each_of, open_book, say_json, table, when
from dicomnode.cli.telling import progress
from dicomnode.config import Settings
from dicomnode.errors import PermanentError
from dicomnode.hours import outside_hours, seconds_until
from dicomnode.store.identity import IdentityBook
from dicomnode.store.jobs import ACTIVE, PAUSED, WAITING, Job, Retrieval

HEAD = ("retrieval", "project", "source", "state", "priority", "asked", "progress")
JOB_HEAD = ("number", "study", "kind", "state", "here", "expected", "what")
WATCH_EVERY = 2.0  # seconds
NUMBER = click.argument("number", type=int)


@click.group(invoke_without_command=True)
@config_option
@click.option("--all", "every", is_flag=True, help="Those that have ended too.")
@click.option("--watch", is_flag=True, help="Show the list again and again until interrupted.")
@as_json
@click.pass_context
def jobs(ctx: click.Context, config_file: str, every: bool, watch: bool, as_json: bool) -> int:
    """List the retrievals: how far each is, how fast, and how long it will take."""
    if ctx.invoked_subcommand is not None:
        if ctx.get_parameter_source("config_file") is ParameterSource.COMMANDLINE:
            ctx.default_map = {name: {"config_file": str(config_file)} for name in jobs.commands}
        return 0
    settings = config.load(config_file)  # type: ignore[arg-type]
    while True:
        with closing(open_book(settings)) as book:
            found = book.jobs.retrievals(None if every else (ACTIVE, PAUSED))
            rows = [(each, asdict(book.jobs.progress(each)) | {"why": _why(settings, book, each)}) for each in found]
        if as_json:
            say_json([asdict(each) | {"progress": far} for each, far in rows])
        elif rows:
            cells = [
                (str(r.id), r.project, r.source, r.state, str(r.priority), when(r.at), progress(far)) for r, far in rows
            ]
            click.clear() if watch else None
            click.echo(table(HEAD, cells, right={0, 4}))
        else:
            click.echo("nothing is to be fetched" if not every else "nothing was ever asked for")
        if not watch:
            return 0
        time.sleep(WATCH_EVERY)


def _why(settings: Settings, book: IdentityBook, retrieval: Retrieval) -> str:
    """Why nothing of a retrieval is fetched now, as far as that can be read."""
    if retrieval.state != ACTIVE:
        return ""
    peer = settings.peers.get(retrieval.source)
    closed = seconds_until(peer.off_peak, datetime.now()) if peer and not retrieval.any_time else 0.0
    if closed:
        return outside_hours(closed)
    return next((job.error for job in book.jobs.jobs(retrieval.id, most=1, states=(WAITING,))), "")


@jobs.command()
@configured()
@NUMBER
@as_json
def show(settings: Settings, number: int, as_json: bool) -> int:
    """List what was asked for with one command; studies are named by their keys."""
    with closing(open_book(settings)) as book:
        if book.jobs.retrieval(number) is None:
            raise PermanentError("there is no retrieval of that number", "dicomnode jobs --all lists them")
        found: list[Job] = []
        while page := book.jobs.jobs(number, found[-1].id if found else 0):
            found += page
    if as_json:
        say_json([_told(n, job) for n, job in enumerate(found, 1)])
    else:
        click.echo(table(JOB_HEAD, [tuple(map(str, _told(n, job).values())) for n, job in enumerate(found, 1)]))
    return 0


def _told(number: int, job: Job) -> dict[str, object]:
    """A job without what identifies."""
    here = {name: "" if value is None else value for name, value in (("here", job.here), ("expected", job.expected))}
    study = {"study": job.study_key[:SHORT], "kind": job.kind, "state": job.state}
    return {"number": number, **study, **here, "what": job.error}


def _control(do: str, text: str) -> None:
    @jobs.command(do, help=text)
    @configured()
    @click.argument("numbers", type=int, nargs=-1, required=True)
    def decide(settings: Settings, numbers: tuple[int, ...]) -> int:
        from dicomnode import running

        requests: list[dict[str, object]] = [{"do": do, "retrieval": number} for number in numbers]
        return each_of(requests, "retrieval", lambda request: running.retrieval(settings, request, _say))


_control("pause", "Fetch nothing more of a retrieval until it is resumed; what is under way is finished.")
_control("resume", "Go on with a paused retrieval; a source that was left alone is tried at once.")
_control("cancel", "Fetch nothing more of a retrieval; what has come stays.")


@jobs.command()
@configured()
@NUMBER
@click.argument("value", type=click.IntRange(-9, 9))
def priority(settings: Settings, number: int, value: int) -> int:
    """Give a retrieval another priority; higher comes first."""
    from dicomnode import running

    return running.retrieval(settings, {"do": "priority", "retrieval": number, "priority": value}, _say)


def _say(document: dict[str, object]) -> None:
    click.echo(f"retrieval {document.get('id')}: {document.get('state')}, priority {document.get('priority')}")
