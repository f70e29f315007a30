"""Logs: whatever is put into them, no identified value comes out."""

from __future__ import annotations

import io
import json
import logging
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import AE

from dicomnode import config
from dicomnode.dimse.refusals import rejected
from dicomnode.dimse.tls import trouble
from dicomnode.errors import PeerUnreachable
from dicomnode.model import Doubt, Reason
from dicomnode.observe import log
from dicomnode.observe.events import EVENTS
from dicomnode.observe.guard import Guard
from dicomnode.observe.words import only_known
from dicomnode.upper_layer.pdus import NAMES

PLANTED = ["Doe^Jane", "Müller", "MRN-4711-0815", "19551231", "1955-12-31", "1.2.826.0.1.3680043.99.1", "山田^太郎"]
TEXT = """
node: {ae_title: DICOMNODE, bind: 127.0.0.1, port: 11112}
storage: {directory: /srv/dicomnode}
peers:
  staging: {ae_title: STAGING, host: pacs.example.org, port: 4242}
  research: {ae_title: RESEARCH, host: 10.0.0.9, port: 4243}
projects:
  lung: {rules: rules/basic.yaml, source: staging, destinations: [research]}
log: {level: debug, format: json}
"""
CONSOLE = TEXT.replace("json", "console")
SETTINGS = config.parse(TEXT.encode(), Path("/etc/dicomnode/c.yaml"))


def _failed(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "")
    error.reason = reason
    return error


def _unverified(code: int) -> ssl.SSLError:
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_code = code
    return error


TROUBLES = [
    *map(_failed, ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "HTTP_REQUEST", "UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER")),
    *map(_failed, ("TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_CERTIFICATE_EXPIRED", "TLSV13_ALERT_CERTIFICATE_REQUIRED")),
    *map(_unverified, (9, 10, 18, 62, 99)),
    *(TimeoutError(), ConnectionResetError(), _failed("UNHEARD_OF")),
]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the node logs, as configured for JSON; everything is put back afterwards."""
    root = logging.getLogger()
    kept = (
        list(root.handlers),
        root.level,
        warnings.showwarning,
        sys.excepthook,
        threading.excepthook,
        sys.unraisablehook,
    )
    written = io.StringIO()
    log.configure(SETTINGS, written)
    yield written
    root.handlers[:], root.level = kept[0], kept[1]
    warnings.showwarning, sys.excepthook, threading.excepthook, sys.unraisablehook = kept[2:]
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def clean(stream: io.StringIO) -> None:
    text = stream.getvalue()
    decoded = json.dumps([json.loads(line) for line in text.splitlines()], ensure_ascii=False)
    for planted in PLANTED:
        assert planted not in text
        assert planted not in decoded


def test_known_fields_of_known_shape_pass(stream: io.StringIO) -> None:
    facts = {
        "project": "lung",
        "study": "abcdefghijklmnopqrstuvwxyz",
        "reason": Reason.RESIDUE,
        "where": "(0010,0010)",
        "status": "0xA700",
        "stored": 12,
        "seconds": 1.5,
        "peer": "staging",
        "calling": "STAGING",
        "address": "10.0.0.9",
        "sop_class": "1.2.840.10008.5.1.4.1.1.2",
        "path": "/srv/dicomnode/keys/lung.key",
    }
    structlog.get_logger().info("instance-withheld", **facts)
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line.pop("level") == "info"
    assert line == {"event": "instance-withheld", **facts, "reason": "residue"}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_value_passes_in_no_field(stream: io.StringIO, planted: str) -> None:
    guard = Guard(SETTINGS)
    for field in [*guard._checks, "patient", "file", planted]:
        if field in ("calling", "called", "ae_title", "event", "address", "path", "timestamp"):
            continue  # shapes of their own, below
        structlog.get_logger().info("instance-stored", **{field: planted})
        structlog.get_logger().info("instance-stored", **{field: [planted]})
        structlog.get_logger().info("instance-stored", **{field: {planted: planted}})
        structlog.get_logger().info("instance-stored", **{field: ValueError(planted)})
        structlog.get_logger().info("instance-stored", **{field: planted.encode()})
    structlog.get_logger().info(planted)
    structlog.get_logger().info("instance-stored", address=planted, path=f"/tmp/{planted}", timestamp=planted)
    clean(stream)
    assert len(lines(stream)) > 100


def test_a_field_without_a_value_is_left_out(stream: io.StringIO) -> None:
    structlog.get_logger().info("study-complete", stored=0, missing=None, evidence="", surname=None)
    (line,) = lines(stream)
    assert {name: line[name] for name in line if name not in ("timestamp", "level", "event")} == {
        "stored": 0,
        "evidence": "",
        "unknown_fields": 1,
    }


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_value_is_cut_out_of_a_sentence(stream: io.StringIO, planted: str) -> None:
    error = PeerUnreachable(f"cannot connect to research at 10.0.0.9:4243 ({planted}): Connection refused")
    structlog.get_logger().warning("delivery-postponed", error=error, why=f"'{planted}'", where=f"({planted})")
    clean(stream)
    (line,) = lines(stream)
    assert line["error"] == "cannot connect to research at 10.0.0.9:4243 (withheld) Connection refused"


def test_our_own_sentences_pass_whole() -> None:
    names = Guard(SETTINGS)._words
    for sentence in (
        "quiet for 60 s, source not asked",
        "cannot create 1.seg: No space left on device",
        "pacs.example.org:4242 cannot be reached",
        "STAGING rejected the association",
    ):
        kept = only_known(sentence, names)
        assert kept.split()[:2] == sentence.split()[:2], kept
    assert only_known("must be a duration such as 60s, 5m, 2h or 1d, not '10'").endswith("60s, 5m, 2h or 1d, not '10'")


def test_a_hint_keeps_its_ports_and_options() -> None:
    hint = "enter DICOMNODE there with port 11112, then: dicomnode check --source staging"
    line = Guard(SETTINGS)(None, "", {"event": "source-waits", "error": f"{hint}, not 11113 --Meier"})
    assert line["error"] == f"{hint}, not (withheld) (withheld)"


def test_a_doubt_names_its_tags(stream: io.StringIO) -> None:
    structlog.get_logger().warning("instance-withheld", error=Doubt(Reason.UNKNOWN_VR, "(0008,1110)[1].(0008,1155)"))
    assert lines(stream)[0]["error"] == "unknown-vr: (0008,1110)[1].(0008,1155)"


def test_exceptions_are_types_and_places(stream: io.StringIO) -> None:
    try:
        raise ValueError(PLANTED[0])
    except ValueError:
        structlog.get_logger().exception("store-failed")
        logging.getLogger("pydicom.values").exception("bad %s", PLANTED[1])
    first, second = lines(stream)
    assert first["error"] == second["error"] == "ValueError"
    assert first["frames"][-1].startswith("observe/test_log.py:")
    assert second["event"] == "foreign-log"
    assert second["logger"] == "pydicom.values"
    clean(stream)


def test_libraries_are_heard_from_warning_on_and_never_quoted(stream: io.StringIO) -> None:
    for name in ("pydicom", "pydicom.misc", "asyncio", "sqlalchemy.engine"):
        logging.getLogger(name).info("%s", PLANTED[0])
        logging.getLogger(name).warning("%s", PLANTED[0])
    assert [line["logger"] for line in lines(stream)] == [
        "pydicom",
        "pydicom.misc",
        "asyncio",
        "sqlalchemy.engine",
    ]
    clean(stream)


def test_warnings_are_a_category(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning(UserWarning(f"Invalid value for VR PN: {PLANTED[0]}"), UserWarning, "/x/values.py", 7)
    (line,) = lines(stream)
    assert line["error"] == "UserWarning"
    assert line["frames"] == ["x/values.py:7"]
    clean(stream)


def test_a_thread_that_dies_tells_no_value(stream: io.StringIO) -> None:
    def die() -> None:
        raise KeyError(PLANTED[2])

    thread = threading.Thread(target=die)
    thread.start()
    thread.join()
    (line,) = lines(stream)
    assert line["event"] == "crashed"
    assert line["error"] == "KeyError"
    clean(stream)


def test_a_thread_of_pynetdicom_that_dies_is_no_part_of_the_node(stream: io.StringIO) -> None:
    thread = threading.Thread(target=AE, args=(PLANTED[0] * 9,))
    thread.start()
    thread.join()
    line = lines(stream)[-1]  # perhaps behind one of the library's own
    assert (line["event"], line["logger"], line["error"]) == ("foreign-log", "pynetdicom", "ValueError")
    clean(stream)


def test_a_process_that_dies_tells_no_value() -> None:
    program = (
        "import asyncio, logging, warnings\n"
        "from dicomnode.observe import log\n"
        "log.configure()\n"
        "logging.getLogger('pydicom').warning('Doe^Jane')\n"
        "warnings.warn('Doe^Jane')\n"
        "async def main():\n"
        "    task = asyncio.create_task(fail())\n"
        "    await asyncio.sleep(0.01)\n"
        "    del task\n"
        "async def fail():\n"
        "    raise RuntimeError('Doe^Jane')\n"
        "asyncio.run(main())\n"
        "class Bad:\n"
        "    def __del__(self):\n"
        "        raise RuntimeError('Doe^Jane')\n"
        "bad = Bad()\n"
        "del bad\n"
        "raise ValueError('Doe^Jane')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Doe" not in ended.stderr + ended.stdout
    events = [json.loads(line)["event"] for line in ended.stderr.splitlines()]
    assert events == ["foreign-log", "python-warning", "foreign-log", "crashed", "crashed"]


def test_the_meanings_of_events_are_words_of_ours() -> None:
    assert all(only_known(meaning) == meaning for meaning in EVENTS.values() if "PS3" not in meaning)


def test_what_a_peer_does_wrong_is_logged_in_words_of_ours() -> None:
    peer = SETTINGS.peers["research"]
    said = [rejected(peer, "DICOMNODE", *those).what for those in ((1, 1, 3), (1, 1, 7), (2, 3, 2), (9, 9, 9))]
    said += [f"unexpected {name} PDU" for name in NAMES.values()]
    said += [getattr(trouble(error), field) for error in TROUBLES for field in ("why", "call", "called")]
    guard = Guard(SETTINGS)
    assert [guard(None, "", {"error": each})["error"] for each in said] == said


def test_names_are_known_only_from_the_settings() -> None:
    line = {"event": "project-gone", "project": "lung"}
    assert Guard(SETTINGS)(None, "info", line) == line
    assert Guard(None)(None, "info", line)["project"] == "(withheld)"


@pytest.mark.parametrize(
    ("segment", "shown"),
    [
        (f"lung/{'a' * 26}/0123456789ab.seg", True),
        (f"doe/{'a' * 26}/0123456789ab.seg", False),
        ("lung/Doe^Jane/0123456789ab.seg", False),
        (f"lung/{'a' * 26}/../0123456789ab.seg", False),
        ("lung", False),
    ],
)
def test_a_segment_is_shown_by_its_name(segment: str, shown: bool) -> None:
    line = Guard(SETTINGS)(None, "error", {"event": "storage-damaged", "segment": segment})
    assert line["segment"] == (segment if shown else "(withheld)")


@pytest.mark.parametrize(
    ("name", "value", "coloured"), [("TERM", "xterm", True), ("TERM", "dumb", False), ("NO_COLOR", "1", False)]
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, name: str, value: str, coloured: bool
) -> None:
    for each, usual in (("NO_COLOR", ""), ("TERM", "xterm"), (name, value)):
        monkeypatch.setenv(each, usual)
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    log.configure(config.parse(CONSOLE.encode(), Path("c.yaml")), shown)
    structlog.get_logger().info("study-complete", project="lung")
    assert ("\033[" in shown.getvalue()) is coloured
    assert not stream.getvalue()


def test_console_lines_are_for_people() -> None:
    program = (
        "import sys, pathlib, structlog\n"
        "from dicomnode import config\n"
        "from dicomnode.observe import log\n"
        "text = sys.stdin.buffer.read()\n"
        "log.configure(config.parse(text, pathlib.Path('c.yaml')))\n"
        "structlog.get_logger().info('study-complete', project='lung', stored=3, patient='Doe^Jane')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], input=CONSOLE, capture_output=True, text=True, check=True)
    assert "study-complete" in ended.stderr
    assert "stored=3" in ended.stderr
    assert "Doe" not in ended.stderr
    assert "{" not in ended.stderr


@settings(deadline=None)  # the first one has the words collected
@given(st.text(max_size=60))
def test_any_text_in_a_sentence_is_known_words_or_withheld(text: str) -> None:
    once = only_known(text)
    assert "\n" not in once
    assert only_known(once) == once


def test_a_log_that_cannot_be_written_holds_nothing_up(stream: io.StringIO) -> None:
    structlog.get_logger().info("node-stopping")
    stream.close()
    structlog.get_logger().info("node-stopping")

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log.configure(SETTINGS, Full())
    structlog.get_logger().error("node-stopping")


def test_a_place_holds_tags_of_the_standard_only(stream: io.StringIO) -> None:
    for where in (
        "(0008,1140)>(unknown) after (0010,0010)",
        "(unknown)>(0010,0010)",
        "(0010,0010) repeated in (unknown)",
    ):
        structlog.get_logger().warning("instance-withheld", where=where)
        assert lines(stream)[-1]["where"] == where
    for bogus in ("(4F44,5E45)", "4F44,5E45", "(0008,1140)>(4F44,5E45)", "(0008,1140)[1].(5551,5449):"):
        structlog.get_logger().warning("instance-withheld", where=bogus)
        assert lines(stream)[-1]["where"] == "(withheld)"
