"""The PHI guard: a log line holds known fields of known shape; everything else is withheld.

It does not look for what is bad, it lets through what is known to be good.
"""

from __future__ import annotations

import ipaddress
import pwd
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomnode.errors import DicomnodeError
from dicomnode.model import Doubt
from dicomnode.observe.events import EVENTS
from dicomnode.observe.words import WITHHELD, only_known

if TYPE_CHECKING:
    from dicomnode.config import Settings

LARGEST = 1 << 53

_slug = re.compile(r"[a-z][a-z0-9-]{0,39}")
_key = re.compile(r"[a-z2-7]{26}")
_segment = re.compile(r"[a-z2-7]{26}/[0-9a-f]{12}\.seg")
_type = re.compile(
    r"[A-Za-z_][A-Za-z0-9_]{0,60}(?:Error|Exception|Warning|Doubt|Exit|Interrupt|Group|Locked|Damaged|Keep)"
)
_status = re.compile(r"0x[0-9A-F]{4}")
_uid = re.compile(r"1\.2\.840\.10008\.[0-9.]{1,48}")
_hex = re.compile(r"[0-9a-f]{16,64}")
_logger = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}(?:\.[A-Za-z_][A-Za-z0-9_]{0,40}){0,6}")
_frame = re.compile(r"[A-Za-z0-9_./<>-]{1,120}:\d{1,6}(?: [A-Za-z0-9_<>.]{1,80})?")

FIRST = ("timestamp", "level", "event")
SLUGS = {"how", "reason", "state", "level", "kind", "stage"}
KEYS = {"study", "series", "instance", "quarantine"}
NAMES = {"project", "peer", "destination", "source"}
AE_TITLES = {"ae_title", "calling", "called"}
NUMBERS = {
    "association", "associations", "attempt", "attempts", "bytes", "completed", "count", "expected", "failed",
    "free", "here", "instances", "missing", "number", "pid", "port", "queue", "received", "remaining",
    "seconds", "sent", "stored", "studies", "tls_port", "waiting", "warning", "withheld",
}  # fmt: skip
FLAGS = {"amended"}
SENTENCES = {"error", "evidence", "hint", "what", "where", "why"}
SHAPES = {"status": _status, "sop_class": _uid, "transfer_syntax": _uid, "rules": _hex, "logger": _logger}

Checked = Any
Check = Callable[[object], Checked]


class Guard:
    """A structlog processor; knows the site's names, AE titles, hosts and directories from the settings."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._names, self._words, self._places = _site(settings)
        self._checks: dict[str, Check] = {"event": _event, "timestamp": _timestamp, "frames": _frames}
        self._checks |= dict.fromkeys(SLUGS, _matching(_slug)) | dict.fromkeys(KEYS, _matching(_key))
        self._checks |= dict.fromkeys(NAMES, self._name) | dict.fromkeys(AE_TITLES, _ae_title)
        self._checks |= dict.fromkeys(NUMBERS, _number) | dict.fromkeys(SENTENCES, self._sentence)
        self._checks |= dict.fromkeys(FLAGS, _flag)
        self._checks |= {field: _matching(shape) for field, shape in SHAPES.items()}
        self._checks |= {"address": self._address, "path": self._path, "user": _user}
        self._checks |= {"segment": self._segment}

    def __call__(self, logger: object, method: str, line: Mapping[str, object]) -> dict[str, object]:
        """The line with every field checked; unknown fields keep neither name nor value, fields without one go."""
        checks = self._checks
        clean = {field: line[field] for field in FIRST if field in line}
        clean |= {field: line[field] for field in line if field in checks}
        unknown = len(line) - len(clean)
        clean = {field: self._checked(checks[field], value) for field, value in clean.items() if value is not None}
        if unknown:
            clean["unknown_fields"] = unknown
        return clean

    @staticmethod
    def _checked(check: Check, value: object) -> object:
        try:
            return value if value == "" else check(str(value) if isinstance(value, Enum) else value)
        except Exception:  # noqa: BLE001 - a value that cannot be judged is withheld, and no log line ends the node
            return WITHHELD

    def _name(self, value: object) -> str:
        return value if isinstance(value, str) and value in self._names else WITHHELD

    def _segment(self, value: object) -> str:
        project, _, rest = str(value).partition("/")
        return f"{project}/{rest}" if project in self._names and _segment.fullmatch(rest) else WITHHELD

    def _sentence(self, value: object) -> str:
        if isinstance(value, str | DicomnodeError | Doubt):
            text = str(value)
            return text if _type.fullmatch(text) else only_known(text, self._words)
        return type(value).__name__ if isinstance(value, BaseException) else WITHHELD

    def _address(self, value: object) -> str:
        text = str(value)
        if text in self._words:
            return text
        try:
            return str(ipaddress.ip_address(text.split("%")[0]))
        except ValueError:
            return WITHHELD

    def _path(self, value: object) -> str:
        path = Path(str(value))
        known = any(path == place or path.parent == place / "keys" for place in self._places)
        return str(path) if known else WITHHELD


def _site(settings: Settings | None) -> tuple[frozenset[str], frozenset[str], frozenset[Path]]:
    """Peers' and projects' names; all words of the site; paths that may be shown."""
    if settings is None:
        return frozenset(), frozenset(), frozenset()
    names = frozenset(settings.peers) | frozenset(settings.projects)
    words = {settings.node.ae_title, settings.node.bind, *names}
    for peer in settings.peers.values():
        words |= {peer.ae_title, peer.host, *peer.addresses}
    words |= {settings.called(project) for project in settings.projects}
    words |= {str(port) for port in (settings.node.port, *(peer.port for peer in settings.peers.values()))}
    words |= {settings.mqtt.host} if settings.mqtt.host else set()
    places = {settings.storage.directory, settings.file}
    for name, project in settings.projects.items():
        places |= {project.rules, settings.key_file(name)}
    return names, frozenset(words | {str(place) for place in places}), frozenset(places)


def _matching(shape: re.Pattern[str]) -> Check:
    def check(value: object) -> str:
        return value if isinstance(value, str) and shape.fullmatch(value) else WITHHELD

    return check


def _event(value: object) -> str:
    return value if isinstance(value, str) and value in EVENTS else "unnamed-event"


def _flag(value: object) -> Checked:
    return value if isinstance(value, bool) else WITHHELD


def _number(value: object) -> Checked:
    return value if isinstance(value, int | float) and abs(value) < LARGEST else WITHHELD


def _ae_title(value: object) -> str:
    fits = isinstance(value, str) and len(value) <= 16 and all(" " <= letter <= "~" for letter in value)
    return str(value) if fits else WITHHELD


def _user(value: object) -> str:
    """Users of this system, as control.user_of tells them; one that it does not know may be anything."""
    try:
        for name in str(value).split(" as "):
            pwd.getpwnam(name)
    except (KeyError, ValueError):
        return WITHHELD
    return str(value)


def _timestamp(value: object) -> str:
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        return WITHHELD
    return str(value)


def _frames(value: object) -> Checked:
    if not isinstance(value, list):
        return WITHHELD
    return [frame if isinstance(frame, str) and _frame.fullmatch(frame) else WITHHELD for frame in value[-12:]]
