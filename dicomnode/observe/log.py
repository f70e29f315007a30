"""Logging: one named event per fact; console on a terminal, JSON lines otherwise; never an identified value."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog
from structlog.typing import Processor

from dicomnode.observe.guard import Guard

if TYPE_CHECKING:
    from dicomnode.config import Settings

OURS = str(Path(__file__).parents[1])
LIBRARIES = ("pydicom", "pynetdicom", "asyncio", "sqlalchemy", "alembic", "mqtt", "aiomqtt")


def configure(settings: Settings | None = None, stream: TextIO | None = None) -> None:
    """Set logging up for the process; without settings only warnings and worse are shown."""
    wanted, form = (settings.log.level, settings.log.format) if settings else ("warning", "auto")
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    level = logging.getLevelName(wanted.upper())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            without_values,
            Guard(settings),
            _renderer(console, stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, Lasting(stream))),
    )
    _route_foreign()


class Lasting:
    """A stream for log lines: where it is broken or closed they are lost, and what was under way goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write it if that can be done."""
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Pass on what was written if that can be done."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def _renderer(console: bool, stream: TextIO) -> Processor:
    if not console:
        return structlog.processors.JSONRenderer()
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return structlog.dev.ConsoleRenderer(colors=stream.isatty() and not plain, sort_keys=False, pad_event_to=24)


def without_values(logger: object, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace exception information by the exception's type and the places it passed; its text may quote values."""
    found = line.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        line.setdefault("error", type(error).__name__)
        line["frames"] = frames(error.__traceback__)
    return line


def frames(trace: TracebackType | None) -> list[str]:
    """file:line function of each frame, innermost last, no source text and no values."""
    return [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]


def _short(filename: str) -> str:
    return "/".join(Path(filename).parts[-2:])


class Foreign(logging.Handler):
    """What libraries log, reduced to who and how bad: their messages quote identifiers and values."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the fact, never the message."""
        facts: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.exc_info[1]:
            facts |= {"error": type(record.exc_info[1]).__name__, "frames": frames(record.exc_info[2])}
        structlog.get_logger().log(record.levelno, "foreign-log", **facts)


def _route_foreign() -> None:
    root = logging.getLogger()
    root.handlers[:] = [Foreign()]
    root.setLevel(logging.WARNING)
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.WARNING)
    warnings.showwarning = _warned
    sys.excepthook = _crashed
    threading.excepthook = _thread_ended
    sys.unraisablehook = lambda unraisable: _crashed(
        unraisable.exc_type, unraisable.exc_value or unraisable.exc_type(), unraisable.exc_traceback
    )


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    structlog.get_logger().warning("python-warning", error=category.__name__, frames=[f"{_short(filename)}:{lineno}"])


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    """Where pynetdicom stumbles over what a peer sends a query's association ends, and no part of the node."""
    kind, error, trace = arguments.exc_type, arguments.exc_value or arguments.exc_type(), arguments.exc_traceback
    files = [frame.filename for frame in traceback.extract_tb(trace)]
    if any("/pynetdicom/" in file for file in files) and not any(file.startswith(OURS) for file in files):
        structlog.get_logger().warning("foreign-log", logger="pynetdicom", error=kind.__name__, frames=frames(trace))
    else:
        _crashed(kind, error, trace)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger().critical("crashed", error=kind.__name__, frames=frames(trace))
