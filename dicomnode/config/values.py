"""What a configured value may look like: AE titles, hosts, ports, durations, sizes, names."""

from __future__ import annotations

import ipaddress
import re
import shlex
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
DECIMAL = {"KB": "KiB", "MB": "MiB", "GB": "GiB", "TB": "TiB", "K": "KiB", "M": "MiB", "G": "GiB", "T": "TiB"}
LONGEST_WAIT = 366 * 86400.0
MOST = 1 << 50

_almost_duration = re.compile(r"(\d{1,9})\s*(|s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?|d|days?)")
_duration = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)")
_size = re.compile(r"(\d{1,9})\s?([KMGT]i?B?|B)", re.IGNORECASE)
_host = re.compile(
    r"(?=.{1,253}\.?$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?"
)
_hours = re.compile(r"(\d{1,2}):([0-5]\d)-(\d{1,2}):([0-5]\d)")
_name = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def shown(value: object) -> str:
    """A value as an error message quotes it: one line, at most 40 characters."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "a section"
    text = " ".join(str(value).split()) if value is not None else ""
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"


def ae_title(value: object) -> str:
    """VR AE (PS3.5 6.2): 1 to 16 ASCII characters, no backslash, no control; spaces around it do not count."""
    text = _text(value).strip(" ")
    if not text or len(text) > 16:
        raise ValueError(f"must be an AE title of 1 to 16 characters, not {shown(value)}")
    if any(not " " <= character <= "~" or character == "\\" for character in text):
        raise ValueError(
            f"must be an AE title of ASCII characters without backslash and control characters, not {shown(value)}"
        )
    return text


def host(value: object) -> str:
    """An IP address or a host name; it is not resolved here."""
    text = _text(value)
    if not is_address(text) and (not _host.fullmatch(text) or re.fullmatch(r"[\d.]+", text)):
        raise ValueError(f"must be an IP address or a host name, not {shown(value)}")
    return text


def is_address(text: str) -> bool:
    """Whether the text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def seconds(value: object) -> float:
    """A duration such as 500ms, 60s, 5m, 2h, 1d as seconds; a number is seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _wait(float(value), value)
    found = _duration.fullmatch(_text(value))
    if found:
        return _wait(float(found[1]) * SECONDS[found[2]], value)
    near = _almost_duration.fullmatch(str(value))
    hint = f"; did you mean {near[1]}{near[2][:1] or 's'}?" if near else ""
    raise ValueError(f"must be a duration such as 60s, 5m, 2h or 1d, not {shown(value)}{hint}")


def _wait(number: float, value: object) -> float:
    if not 0 < number <= LONGEST_WAIT:
        raise ValueError(f"must be a duration above 0 and up to 366d, not {shown(value)}")
    return number


def size(value: object) -> int:
    """A size such as 512KiB, 8MiB, 2GiB as bytes; a number is bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _bytes(value, value)
    if re.fullmatch(r"\d{1,15}", _text(value)):
        return _bytes(int(_text(value)), value)
    found = _size.fullmatch(_text(value))
    if found and found[2] in BYTES:
        return _bytes(int(found[1]) * BYTES[found[2]], value)
    hint = ""
    if found:
        hint = f"; did you mean {found[1]}{DECIMAL.get(found[2].upper(), 'MiB')}?"
    raise ValueError(f"must be a size such as 512KiB, 8MiB or 2GiB, not {shown(value)}{hint}")


def _bytes(number: int, value: object) -> int:
    if not 0 < number <= MOST:
        raise ValueError(f"must be a size above 0 and up to 1024TiB, not {shown(value)}")
    return number


def name(value: object) -> str:
    """The name of a peer or project: it stands in logs and directory names."""
    text = _text(value)
    if not _name.fullmatch(text):
        raise ValueError(
            f"{shown(value)} must be 1 to 32 lower-case letters, digits, '-' and '_', beginning with a letter or digit"
        )
    return text


def topic(value: object) -> str:
    """The beginning of MQTT topics: no wildcards, no empty level, nothing of the broker's own ($SYS)."""
    text = _text(value)
    levels = text.split("/")
    if (
        len(text.encode()) > 200
        or not all(levels)
        or text.startswith("$")
        or not text.isprintable()
        or {*"+#"} & {*text}
    ):
        raise ValueError(
            f"must be an MQTT topic such as site/dicomnode, without +, # and empty levels, not {shown(value)}"
        )
    return text


def client_id(value: object) -> str:
    """A name under which a broker knows us."""
    text = _text(value)
    if not 0 < len(text) <= 64 or not text.isprintable():
        raise ValueError(f"must be a name of 1 to 64 characters, not {shown(value)}")
    return text


def _text(value: object) -> str:
    if isinstance(value, dict | list):
        raise ValueError(f"must be one value, not {shown(value)}")
    return "" if value is None else str(value)


def _whole(least: int, most: int, what: str) -> BeforeValidator:
    def check(value: object) -> int:
        text = _text(value)
        if not re.fullmatch(r"\d{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be {what} from {least} to {most}, not {shown(value)}")
        return int(text)

    return BeforeValidator(check)


def _absolute(value: Path, info: ValidationInfo) -> Path:
    base: Path = (info.context or {}).get("base", Path())
    return (base / value).absolute()


def _path(value: object) -> Path:
    text = str(value) if isinstance(value, Path) else _text(value)
    if not text or "\0" in text:
        raise ValueError(f"must be a path, not {shown(value)}")
    return Path(text).expanduser()


def fingerprint(value: object) -> str:
    """The SHA-256 of a certificate as lower-case hex digits; colons and capitals as openssl writes them are fine."""
    text = _text(value).replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError(f"must be the SHA-256 of a certificate in 64 hex digits, not {shown(value)}")
    return text


def subject_name(value: object) -> str:
    """A name that stands in a certificate: host name, address or common name."""
    text = _text(value).strip()
    if not text or len(text) > 253 or not text.isprintable():
        raise ValueError(f"must be a name as it stands in a certificate, not {shown(value)}")
    return text


def hook(value: object) -> str:
    """The name of an entry point, or a command that begins with a path."""
    text = _text(value).strip()
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words or not text.isprintable() or (len(words) > 1 and "/" not in words[0]):
        raise ValueError(f"must be the name of an entry point or a command with its path, not {shown(value)}")
    return text


def day_hours(value: object) -> tuple[tuple[int, int], ...]:
    """Windows of a day such as 19:00-06:00, several with commas between: minutes since midnight, begin and end."""
    if isinstance(value, tuple):
        return value
    return tuple(_window(part.strip(), value) for part in _text(value).split(",") if part.strip())


def _window(text: str, value: object) -> tuple[int, int]:
    found = _hours.fullmatch(text)
    if found:
        begin, end = (int(found[n]) * 60 + int(found[n + 1]) for n in (1, 3))
        if begin < 24 * 60 and end <= 24 * 60 and begin != end:
            return begin, end
    raise ValueError(f"must be hours such as 19:00-06:00, not {shown(value)}")


AETitle = Annotated[str, BeforeValidator(ae_title)]
Hook = Annotated[str, BeforeValidator(hook)]
Host = Annotated[str, BeforeValidator(host)]
Port = Annotated[int, _whole(1, 65535, "a port")]
ListenPort = Annotated[int, _whole(0, 65535, "a port")]
Count = Annotated[int, _whole(1, 1_000_000, "a number")]
Seconds = Annotated[float, BeforeValidator(seconds)]
Size = Annotated[int, BeforeValidator(size)]
Fingerprint = Annotated[str, BeforeValidator(fingerprint)]
SubjectName = Annotated[str, BeforeValidator(subject_name)]
Name = Annotated[str, BeforeValidator(name)]
Topic = Annotated[str, BeforeValidator(topic)]
DayHours = Annotated[tuple[tuple[int, int], ...], BeforeValidator(day_hours)]
ClientId = Annotated[str, BeforeValidator(client_id)]
FilePath = Annotated[Path, BeforeValidator(_path), AfterValidator(_absolute)]
