"""`dicomnode check`: whether this configuration can work, one line per finding, each with what to do."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click

from dicomnode import config, control
from dicomnode.cli.options import as_json, config_option, say_json
from dicomnode.config import Settings
from dicomnode.deidentify.rules import load
from dicomnode.dimse import query
from dicomnode.errors import DicomnodeError, PeerRejected
from dicomnode.keys import load_key
from dicomnode.observe import log

ANSWER = 10.0  # seconds
SCARCE = 5 << 30  # bytes; below this the free space is worth a warning


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `verdict` is ok, warning or wrong; `text` says what, and what to do."""

    verdict: str
    subject: str
    text: str


@click.command()
@config_option
@click.option("--running", is_flag=True, help="Only say whether the node runs and answers (for health checks).")
@as_json
def check(config_file: Path, running: bool, as_json: bool) -> int:
    """Check configuration, rules, keys, storage and peers. Exit 1 when something is wrong."""
    log.configure()
    if running:
        answers = runs(config.load(config_file).storage.directory)
        click.echo("the node is running" if answers else "the node does not answer; see its log")
        return int(not answers)
    found: list[Finding] = []
    for finding in findings(config_file):
        found.append(finding)
        if not as_json:
            click.echo(f"{finding.verdict:8}{finding.subject:24}{finding.text}")
    if as_json:
        say_json([asdict(finding) for finding in found])
    return int(any(finding.verdict == "wrong" for finding in found))


def findings(file: Path) -> Iterator[Finding]:
    """Everything that can be found out without changing anything."""
    try:
        settings = config.load(file)
    except DicomnodeError as error:
        yield Finding("wrong", "configuration", str(error))
        return
    yield Finding("ok", "configuration", f"{settings.file}")
    for name, project in settings.projects.items():
        yield _tried(f"rules of {name}", partial(_rules, project.rules))
        yield _key(settings, name)
    yield from _storage(settings.storage.directory)
    yield _port(settings)
    for name in settings.peers:
        yield from _peer(settings, name)


def _tried(subject: str, work: Callable[[], str]) -> Finding:
    try:
        return Finding("ok", subject, work())
    except DicomnodeError as error:
        return Finding("wrong", subject, str(error))


def _rules(file: Path) -> str:
    plan = load(file)
    return f"{file}, digest {plan.digest[:16]}"


def _key(settings: Settings, project: str) -> Finding:
    subject, path = f"key of {project}", settings.key_file(project)
    given = settings.projects[project].key_file is not None
    if not given and not path.exists():
        return Finding("warning", subject, f"{path} is created at first start; then back it up")
    finding = _tried(subject, lambda: f"{path}, id {load_key(path).key_id}")
    if finding.verdict == "ok" and path.is_relative_to(settings.storage.directory):
        text = f"{path} lies beside the data that it protects; move it and name it in projects.{project}.key_file"
        return Finding("warning", subject, text)
    return finding


def _storage(directory: Path) -> Iterator[Finding]:
    place = next(path for path in (directory, *directory.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield Finding("wrong", "storage", f"{place} cannot be written by this user; give it to the service's user")
        return
    state = "can be written" if place == directory else f"will be created in {place}"
    yield Finding("ok", "storage", f"{directory} {state}")
    if place == directory and directory.stat().st_mode & 0o077:
        yield Finding("warning", "storage", f"{directory} is open to other users; run chmod 700 {directory}")
    free = shutil.disk_usage(place).free
    text = f"{free / (1 << 30):.1f} GiB free"
    yield Finding("ok", "room", text) if free >= SCARCE else Finding("warning", "room", f"only {text}; make room")


def _port(settings: Settings) -> Finding:
    address, port = settings.node.bind, settings.node.port
    if runs(settings.storage.directory):
        return Finding("ok", "port", "the node is running")
    try:
        family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        text = f"cannot listen on {address} port {port}: {error.strerror}; change node.bind or node.port"
        return Finding("wrong", "port", text)
    return Finding("ok", "port", f"{address} port {port} is free")


def runs(directory: Path) -> bool:
    """Whether a node on this storage directory answers over its control socket within a few seconds."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(ANSWER)
    try:
        answers = control.ask(directory, {"command": "status"}) if directory.is_dir() else None
        return answers is not None and next(answers, None) is not None
    except OSError:
        return False
    finally:
        socket.setdefaulttimeout(before)


def _peer(settings: Settings, name: str) -> Iterator[Finding]:
    peer, subject = settings.peers[name], f"peer {name}"
    for address in dict.fromkeys((peer.host, *peer.addresses)):
        if "/" in address:
            continue
        try:
            socket.getaddrinfo(address, None)
        except OSError:
            yield Finding("wrong", subject, f"the name {address} does not resolve; correct peers.{name} or the DNS")
            return
    for title in _our_titles(settings, name):
        try:
            query.echo(peer, title)
            yield Finding("ok", subject, f"{peer.ae_title} at {peer.host}:{peer.port} answers C-ECHO to {title}")
        except PeerRejected as error:
            yield Finding("wrong", subject, f"{error}; add {title} on {name}, or correct peers.{name}.ae_title")
        except DicomnodeError as error:
            yield Finding("wrong", subject, str(error))


def _our_titles(settings: Settings, peer: str) -> list[str]:
    """The AE titles under which we call a peer: those of the projects that use it."""
    titles = [
        settings.called(name)
        for name, project in settings.projects.items()
        if peer == project.source or peer in project.destinations
    ]
    return list(dict.fromkeys(titles)) or [settings.node.ae_title]
