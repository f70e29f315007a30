"""What no single value shows: names that must resolve, titles that must differ, limits that must fit."""

from __future__ import annotations

from collections.abc import Iterable

from dicomnode.config.explain import nearest
from dicomnode.config.lines import Document
from dicomnode.config.lines import Path as Place
from dicomnode.config.sections import File, ProjectSettings


def check(document: Document, file: File) -> None:
    """Raise ConfigError for the first contradiction."""
    for section in ("peers", "projects"):
        if not getattr(file, section):
            raise document.error((section,), f"{section} is empty", "config/dicomnode.yaml shows an example")
    _peers_differ(document, file)
    for name, project in file.projects.items():
        _names(document, file, name, project)
    _titles_differ(document, file)
    if file.node.port and file.node.tls.port == file.node.port:
        hint = "leave it out: then that port speaks TLS"
        raise document.error(("node", "tls", "port"), "node.tls.port is node.port", hint)
    if file.metrics.port is not None and file.metrics.port in (file.node.port, file.node.tls.port):
        raise document.error(("metrics", "port"), "metrics.port is a port of the node", "name another one")
    if file.queue.bytes < file.node.whole:
        place: Place = ("queue", "bytes") if file.queue.bytes != type(file.queue)().bytes else ("node", "whole")
        raise document.error(place, "queue.bytes is smaller than node.whole", "no instance of that size would fit")


def _peers_differ(document: Document, file: File) -> None:
    seen: dict[tuple[str, str, int], str] = {}
    for name, peer in file.peers.items():
        address = (peer.ae_title, peer.host.lower(), peer.port)
        if address in seen:
            raise document.error(
                ("peers", name), f"peers.{name} is the same as peers.{seen[address]}", "keep one of them"
            )
        seen[address] = name
        if (peer.host, peer.port) == (file.node.bind, file.node.port):
            raise document.error(("peers", name), f"peers.{name} has the address and port of this node itself")


def _names(document: Document, file: File, name: str, project: ProjectSettings) -> None:
    here: Place = ("projects", name)
    if project.source:
        _known(document, file, (*here, "source"), project.source)
        if file.peers[project.source].tls.on and file.node.tls.certificate is None:
            what = f"peers.{project.source}.tls is set, but node.tls is not"
            raise document.error(("peers", project.source, "tls"), what, "it could not send over TLS what is retrieved")
    if not project.destinations:
        raise document.error(
            (*here, "destinations"), f"projects.{name}.destinations is empty", "name at least one peer"
        )
    for index, destination in enumerate(project.destinations):
        place = (*here, "destinations", index)
        _known(document, file, place, destination)
        if destination == project.source:
            raise document.error(place, f"projects.{name} sends to its own source '{destination}'", "name another peer")
        if destination in project.destinations[:index]:
            raise document.error(place, f"projects.{name}.destinations names '{destination}' twice", "name it once")


def _known(document: Document, file: File, place: Place, peer: str) -> None:
    if peer not in file.peers:
        where = ".".join(str(part) for part in place if isinstance(part, str))
        raise document.error(place, f"{where} names the unknown peer '{peer}'", nearest(peer, list(file.peers)))


def _titles_differ(document: Document, file: File) -> None:
    seen: dict[str, str] = {}
    for name, project in file.projects.items():
        title = project.ae_title or file.node.ae_title
        if title in seen:
            what = f"projects.{name} and projects.{seen[title]} have the same AE title '{title}'"
            raise document.error(_title_place(project, name), what, "it chooses the project, so each needs its own")
        seen[title] = name


def _title_place(project: ProjectSettings, name: str) -> Place:
    rest: Iterable[str] = ("ae_title",) if project.ae_title else ()
    return ("projects", name, *rest)
