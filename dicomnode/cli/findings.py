"""What `dicomnode check` finds, one line each, with what to do."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from aiomqtt import MqttError

from dicomnode import config, disk, hooks
from dicomnode.cli import health, reach
from dicomnode.cli.certificates import certificates
from dicomnode.cli.finding import Finding, tried
from dicomnode.cli.options import counted, refuse_others, when
from dicomnode.config import Settings, StorageSettings
from dicomnode.errors import DicomnodeError, PermanentError
from dicomnode.keys import load_key
from dicomnode.observe import mqtt
from dicomnode.projects import refuse_lost_key, refuse_other_key
from dicomnode.quarantine import Quarantine
from dicomnode.recipes import load
from dicomnode.space import LEAST_FILES, lacks_files
from dicomnode.store.database import examine, has_studies, newest
from dicomnode.watch import DATABASES

EARLIEST = 1735689600.0  # 2025-01-01; before that, the clock was never set
BOOKS = {"journal": "journal", "identity": "identity book"}
SCARCE = 5 << 30  # bytes; below this the free space is worth a warning


def findings(file: Path) -> Iterator[Finding]:
    """Everything that can be found out without changing anything."""
    try:
        settings = config.load(file)
    except DicomnodeError as error:
        yield Finding("wrong", "configuration", str(error))
        return
    yield Finding("ok", "configuration", f"{settings.file}")
    try:
        refuse_others(settings)
    except DicomnodeError as error:
        yield Finding("wrong", "storage", str(error))
        return
    for path in dict.fromkeys([settings.file, *(project.rules for project in settings.projects.values())]):
        yield from _rights(path)
    for name, project in settings.projects.items():
        yield tried(f"rules of {name}", partial(_rules, project.rules))
        yield _key(settings, name)
        yield from _seal_keys(settings, name)
        yield from _hooks(settings, name)
    yield from _storage(settings.storage)
    yield from _ports(settings)
    yield from _databases(settings.storage.directory)
    journal = settings.storage.directory / "journal.db"
    if journal.exists():
        yield from health.studies(journal)
    yield from _clock(settings)
    yield from certificates(settings)
    yield from _alike(settings)
    yield from reach.peers(settings, health.status(settings.storage.directory))
    if settings.mqtt.host:
        yield tried("MQTT", partial(_broker, settings))


def _rights(path: Path) -> Iterator[Finding]:
    """Who can write these decides what is sent where."""
    if path.exists() and path.stat().st_mode & 0o002:
        yield Finding("warning", "rights", f"{path} can be changed by everybody; run chmod o-w {path}")


def _rules(file: Path) -> str:
    plan = load(file)
    return f"{file}, digest {plan.digest[:16]}"


def _key(settings: Settings, project: str) -> Finding:
    subject, path = f"key of {project}", settings.key_file(project)
    given = settings.projects[project].key_file is not None
    if not given and not path.exists():
        return tried(subject, partial(_new_key, settings, project))
    finding = tried(subject, partial(_known_key, settings, project))
    if finding.verdict == "ok" and path.is_relative_to(settings.storage.directory):
        text = f"{path} lies beside the data that it protects; move it and name it in projects.{project}.key_file"
        return Finding("warning", subject, text)
    return finding


def _new_key(settings: Settings, project: str) -> str:
    journal = settings.storage.directory / "journal.db"
    refuse_lost_key(settings, project, lambda name: journal.exists() and has_studies(journal, name))
    return f"{settings.key_file(project)} is created at first start; then back it up"


def _known_key(settings: Settings, project: str) -> str:
    path = settings.key_file(project)
    keys = load_key(path)
    refuse_other_key(settings, project, keys)
    return f"{path}, id {keys.key_id}"


def _seal_keys(settings: Settings, project: str) -> Iterator[Finding]:
    """The keys of what is sealed, where they are not the project's own; and which former ones are still needed."""
    told = settings.projects[project]
    files = {f"seal key of {project}": told.seal_key_file} if told.seal_key_file else {}
    files |= {f"seal key {n} before": path for n, path in enumerate(told.older_seal_key_files, start=1)}
    needed = Quarantine(settings.storage.directory / "quarantine", {}).keys_needed(project) if files else {}
    for subject, path in files.items():
        yield tried(subject, partial(_seal_key, path, needed))


def _seal_key(path: Path, needed: Mapping[str, int]) -> str:
    name = load_key(path).key_id
    return f"{path}, id {name}, opens {counted(needed.get(name, 0), 'withheld original')}"


def _hooks(settings: Settings, project: str) -> Iterator[Finding]:
    """The site's own code, before it is needed."""
    told = settings.projects[project].hooks
    for kind, hook in (("run", told.run), ("study", told.study)):
        if hook:
            yield tried(f"{kind} hook of {project}", partial(hooks.check, hook))


def _storage(storage: StorageSettings) -> Iterator[Finding]:
    directory = storage.directory
    place = next(path for path in (directory, *directory.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        if disk.is_read_only(place):
            text = f"{place} is on a file system that is read-only; look at its disk, and mount it for writing"
        else:
            text = f"{place} cannot be written by this user; give it to the service's user"
        yield Finding("wrong", "storage", text)
        return
    state = "can be written" if place == directory else f"will be created in {place}"
    yield Finding("ok", "storage", f"{directory} {state}")
    if place == directory and directory.stat().st_mode & 0o077:
        yield Finding("warning", "storage", f"{directory} is open to other users; run chmod 700 {directory}")
    yield _room(disk.free(place), storage.min_free, lacks_files(os.statvfs(place)))


def _room(free: int, least: int, no_files: bool) -> Finding:
    if no_files:
        text = f"the file system has room for fewer than {LEAST_FILES} files (inodes): instances are refused"
        return Finding("wrong", "room", f"{text}; delete files that are not needed there")
    text = f"{free / (1 << 30):.1f} GiB free"
    if free < least:
        wanted = f"storage.min_free is {least / (1 << 30):.1f} GiB"
        return Finding("wrong", "room", f"only {text}, {wanted}: instances are refused; make room")
    return Finding("ok", "room", text) if free >= SCARCE else Finding("warning", "room", f"only {text}; make room")


def _ports(settings: Settings) -> Iterator[Finding]:
    """The ports that a start takes, while none has taken them."""
    if health.runs(settings.storage.directory):
        yield Finding("ok", "port", "the node is running")
        return
    node, metrics = settings.node, settings.metrics
    yield _port("port", node.bind, node.port, "node.bind or node.port")
    if node.tls.port is not None:
        yield _port("TLS port", node.bind, node.tls.port, "node.bind or node.tls.port")
    if metrics.port is not None:
        yield _port("metrics port", metrics.bind, metrics.port, "metrics.bind or metrics.port")


def _port(subject: str, address: str, port: int, keys: str) -> Finding:
    try:
        family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        text = f"cannot listen on {address} port {port}: {error.strerror}; stop what uses it, or change {keys}"
        return Finding("wrong", subject, text)
    return Finding("ok", subject, f"{address} port {port} is free")


def _alike(settings: Settings) -> Iterator[Finding]:
    """Peers that call under one AE title from one address cannot be told apart, unless by certificates of their own."""
    seen: dict[tuple[str, str, object], str] = {}
    for name, peer in settings.peers.items():
        for place in [(peer.ae_title, address.lower(), peer.tls) for address in peer.addresses]:
            first = seen.setdefault(place, name)
            if first != name:
                text = f"{peer.ae_title} from {place[1]} is peer {first} too, and counts as that one when it calls"
                yield Finding("warning", f"caller {name}", f"{text}; give one of them another AE title or addresses")
                break


def _databases(directory: Path) -> Iterator[Finding]:
    for kind, head, hint in DATABASES:
        name, path = BOOKS[kind], directory / f"{kind}.db"
        if not path.exists():
            yield Finding("ok", name, f"{path} is created at first start")
        else:
            yield tried(name, partial(examine, path, head, hint))


def _clock(settings: Settings) -> Iterator[Finding]:
    """Times stand in the journal and decide about retries: a clock that was set back is worth a word."""
    now, path = time.time(), settings.storage.directory / "journal.db"
    if now < EARLIEST:
        yield Finding("wrong", "clock", f"it is {when(now)} here; set the clock, best by NTP")
        return
    latest = newest(path) if path.exists() else 0.0
    if latest > now + 60:
        text = f"it is {when(now)} here, but an instance came at {when(latest)}; set the clock, best by NTP"
        yield Finding("wrong", "clock", text)
    elif _synchronised() is False:
        yield Finding("warning", "clock", f"it is {when(now)} here and NTP does not hold it; switch NTP on")
    else:
        yield Finding("ok", "clock", f"it is {when(now)}")


def _synchronised() -> bool | None:
    """What systemd knows about NTP; None where it cannot be asked."""
    try:
        asked = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(asked.stdout.strip())


def _broker(settings: Settings) -> str:
    asyncio.run(_connect(settings))
    return f"{settings.mqtt.host}:{settings.mqtt.reached_at} takes our events below {mqtt.prefix(settings)}"


async def _connect(settings: Settings) -> None:
    try:
        async with mqtt.client(settings, name="check"):
            pass
    except MqttError as error:
        where = f"{settings.mqtt.host}:{settings.mqtt.reached_at}"
        raise PermanentError(f"{where}: {mqtt.why(error)}", "correct mqtt.* here, or the broker") from None
