"""Whether we reach each peer, what it takes from us and gives to us, and whether it has called us."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts

from dicomnode.cli.finding import Finding
from dicomnode.cli.options import when
from dicomnode.config import Settings
from dicomnode.dimse import query
from dicomnode.dimse.sender import Patience, Sender
from dicomnode.dimse.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from dicomnode.errors import DicomnodeError, PeerRejected
from dicomnode.model import Peer

SILENCE = 10.0  # seconds that a peer may take at least
MOST_CONTEXTS = 128
NO_STUDY = "2.25.329800735698586629295641978511506172918"  # a random UUID: no study has it
UNKNOWN_DESTINATION = 0xA801

CLASSES = tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
COMMON = (  # what a research PACS that takes images should take
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.20",
    "1.2.840.10008.5.1.4.1.1.128",
)
SYNTAXES = (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
)


def peers(settings: Settings, running: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Findings for every peer; `running` is what the running node says of its callers, if there is one."""
    for name, peer in settings.peers.items():
        subject = f"peer {name}"
        unresolved = _unresolved(peer)
        if unresolved:
            text = f"the name {unresolved} does not resolve; correct peers.{name} or the DNS"
            yield Finding("wrong", subject, text)
            continue
        told: list[Finding] = []  # one who is away is so under each of our AE titles
        for title, roles in _roles(settings, name).items():
            told += [each for each in _reached(settings, peer, subject, title, roles) if each not in told]
        yield from told
        if running is not None:
            yield _called(settings, peer, f"{name} calls us", running)
    if running is not None:
        yield from _turned_away(running)


def _unresolved(peer: Peer) -> str:
    for address in dict.fromkeys((peer.host, *peer.addresses)):
        try:
            if "/" not in address:
                socket.getaddrinfo(address, None)
        except OSError:
            return address
    return ""


def _roles(settings: Settings, peer: str) -> dict[str, set[str]]:
    """Our AE titles for this peer, and what it is to us under each: source, destination (that confirms) or neither."""
    roles: dict[str, set[str]] = {}
    for name, project in settings.projects.items():
        mine = {"source"} if peer == project.source else set()
        mine |= {"destination"} if peer in project.destinations else set()
        mine |= {"confirms"} if "destination" in mine and settings.confirm(name, peer) == "find" else set()
        if mine:
            roles.setdefault(settings.called(name), set()).update(mine)
    return roles or {settings.node.ae_title: set()}


def _reached(settings: Settings, peer: Peer, subject: str, title: str, roles: set[str]) -> Iterator[Finding]:
    silence = max(SILENCE, settings.timeouts.connect)
    try:
        query.echo(peer, title, silence=silence)
    except PeerRejected as error:
        yield Finding(
            "wrong", subject, f"{error}; add {title} on {peer.name}, or correct peers.{peer.name}.ae_title here"
        )
        return
    except DicomnodeError as error:
        yield Finding("wrong", subject, f"{error}; or correct peers.{peer.name}.host and port here")
        return
    yield Finding("ok", subject, f"{peer.ae_title} at {peer.host}:{peer.port} answers C-ECHO to {title}")
    if "destination" in roles:
        yield _takes(peer, f"{peer.name} C-STORE", title, silence)
    if "confirms" in roles and "source" not in roles:
        yield _asked(peer, title, silence)
    if "source" in roles:
        yield from _gives(settings, peer, title, silence)


def _takes(peer: Peer, subject: str, title: str, silence: float) -> Finding:
    """What a destination takes by C-STORE."""
    patience = Patience(connect=silence, associate=silence, stall=silence, answer=silence, release=2)
    try:
        classes = asyncio.run(_accepted(peer, title, [(uid, EXPLICIT_LITTLE) for uid in CLASSES], patience))
        others = [(uid, IMPLICIT_LITTLE) for uid in CLASSES if (uid, EXPLICIT_LITTLE) not in classes]  # transcoded then
        classes += asyncio.run(_accepted(peer, title, others, patience))
        first = next((uid for uid, _ in classes), "")
        wanted = [(first, syntax) for syntax in SYNTAXES] if first else []
        syntaxes = asyncio.run(_accepted(peer, title, wanted, patience))
    except DicomnodeError as error:
        return Finding("wrong", subject, str(error))
    if not classes:
        text = f"takes no instance from {title} in Explicit or Implicit VR Little Endian"
        return Finding("wrong", subject, f"{text}; allow C-STORE from {title} on {peer.name}")
    taken = {uid for uid, _ in classes}
    text = f"takes {len(taken)} of {len(CLASSES)} storage SOP classes; " + _names(syntax for _, syntax in syntaxes)
    lacking = [uid for uid in COMMON if uid not in taken]
    if lacking:
        text += f"; not {_names(lacking)}: allow them on {peer.name} if they are to go there"
    return Finding("warning" if lacking else "ok", subject, text)


async def _accepted(peer: Peer, title: str, wanted: list[tuple[str, str]], patience: Patience) -> list[tuple[str, str]]:
    accepted = []
    for first in range(0, len(wanted), MOST_CONTEXTS):
        part = wanted[first : first + MOST_CONTEXTS]
        sender = await Sender.connect(peer, title, part, patience=patience)
        accepted += [context for context in part if sender.accepts(*context)]
        await sender.release()
    return accepted


def _names(uids: Iterable[str]) -> str:
    return ", ".join(UID(uid).name.removesuffix(" Storage").removesuffix(" Image") for uid in uids)


def _asked(peer: Peer, title: str, silence: float) -> Finding:
    """Whether a peer can be asked what it holds."""
    try:
        query.find_study(peer, title, NO_STUDY, silence=silence)
    except DicomnodeError as error:
        text = f"{error}; allow C-FIND (study root) from {title} on {peer.name}"
        return Finding("wrong", f"{peer.name} C-FIND", text)
    return Finding("ok", f"{peer.name} C-FIND", f"answers C-FIND to {title}")


def _gives(settings: Settings, peer: Peer, title: str, silence: float) -> Iterator[Finding]:
    """Whether a source can be asked, and moves to us; nothing is moved, for the study does not exist."""
    finding = _asked(peer, title, silence)
    yield finding
    if finding.verdict != "ok":
        return
    here = f"{title} with this machine's address and port {settings.node.port}"
    try:
        moved = query.move_study(
            peer, title, title, NO_STUDY, progress=lambda _: None, alive=lambda: 0.0, silence=silence
        )
    except DicomnodeError as error:
        yield Finding("wrong", f"{peer.name} C-MOVE", f"{error}; allow C-MOVE (study root) from {title} on {peer.name}")
        return
    if moved.status == UNKNOWN_DESTINATION:
        text = f"does not know where {title} is; enter {here} as a destination on {peer.name}"
        yield Finding("wrong", f"{peer.name} C-MOVE", text)
    else:
        text = f"takes C-MOVE from {title}; dicomnode check --source {peer.name} shows whether it knows {here}"
        yield Finding("ok", f"{peer.name} C-MOVE", text)


def _called(settings: Settings, peer: Peer, subject: str, running: Mapping[str, Any]) -> Finding:
    at = running.get("called", {}).get(peer.name)
    if at is not None:
        return Finding("ok", subject, f"called us last at {when(at)}")
    titles = " or ".join(_roles(settings, peer.name))
    text = f"has not called us since the node started; if it is to send, try C-ECHO from {peer.name} to {titles}"
    return Finding("ok", subject, text)


def _turned_away(running: Mapping[str, Any]) -> Iterator[Finding]:
    for caller in running.get("turned_away", []):
        text = (
            f"{caller['calling']} at {caller['address']} called {caller['called']} and was rejected at "
            f"{when(caller['at'])}: {caller['why']}; correct peers.*.ae_title or addresses here, or the AE title there"
        )
        yield Finding("warning", "callers", text)
