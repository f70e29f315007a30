"""What is fuzzed: the listener's bytes, the configuration's and the rules' text."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from mutation import edited, mutated
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import _STORAGE_CLASSES
from seeking import Target
from talk import REQUEST, joined, store

from dicomnode import config
from dicomnode.deidentify import load
from dicomnode.dimse import syntaxes
from dicomnode.errors import ConfigError, RulesError
from dicomnode.upper_layer import (
    Abort,
    AssociateAccept,
    AssociateRequest,
    Command,
    Connection,
    DataSet,
    ProposedContext,
    Release,
    Role,
    State,
    echo_request,
    response_to,
)
from dicomnode.upper_layer.messages import p_data
from dicomnode.upper_layer.pdus import RELEASE_RQ, encode_abort, encode_request
from dicomnode.upper_layer.reader import MAX_ASSOCIATE

ROOT = Path(__file__).parents[2]
MAX_PDU = 65536
VERIFICATION = "1.2.840.10008.1.1"


def conversations() -> list[bytes]:
    """Whole associations, as the requestor sends them."""
    hello = encode_request(REQUEST)
    many = AssociateRequest(
        "DICOMNODE",
        "STAGING",
        tuple(
            ProposedContext(2 * n + 1, uid, tuple(build_context(uid).transfer_syntax))
            for n, uid in enumerate([VERIFICATION, *_STORAGE_CLASSES.values()][:60])
        ),
        0,
    )
    echo = joined(p_data(1, echo_request(7), None, 0))
    return [
        hello + store(1, b"first " * 50, 100) + store(2, b"") + store(3, b"x" * 3001, 1000) + RELEASE_RQ,
        encode_request(many) + echo + echo + RELEASE_RQ,
        hello + store(1, b"y" * 5000, 512)[:3000] + encode_abort(Abort(0, 0)),
        hello + store(1, b"a") + RELEASE_RQ + store(2, b"b"),
        b"GET / HTTP/1.1\r\nHost: dicomnode\r\n\r\n",
        b"\x16\3\1\2\0\1\0\1\xfc\3\3" + bytes(500),
    ]


def listen(data: bytes) -> None:
    """However the bytes are cut, the same happens, nothing raises and little is stored."""
    random = Random(data)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((1, 3, 40))))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert _heard([data]) == _heard(pieces)


def _heard(pieces: list[bytes]) -> tuple[list[object], bytes]:
    connection = Connection(Role.ACCEPTOR, MAX_PDU)
    events: list[object] = []
    output, data_set = bytearray(), bytearray()
    for piece in pieces:
        connection.receive(memoryview(piece))
        while (event := connection.next_event()) is not None:
            if isinstance(event, DataSet):
                data_set += event.data
                if not event.last:
                    continue
                event, data_set = bytes(data_set), bytearray()
            events.append(event)
            output += b"".join(connection.output())
            output += _answer(connection, event, events)
        connection.keep()
        output += b"".join(connection.output())
        assert len(connection._reader._partial) <= MAX_ASSOCIATE
    return events, bytes(output)


def _answer(connection: Connection, event: object, events: list[object]) -> bytes:
    """What dimse.association does with events."""
    if isinstance(event, AssociateRequest):
        contexts = syntaxes.answer(event.contexts)
        connection.accept(AssociateAccept(event.called, event.calling, contexts, MAX_PDU))
    elif event is Release.REQUESTED:
        connection.confirm_release()
    elif isinstance(event, Command) and event.is_response:
        connection.abort()
    elif isinstance(event, bytes) or (isinstance(event, Command) and not event.has_data_set and event.field != 0x0FFF):
        command = next(each for each in reversed(events) if isinstance(each, Command))
        assert connection.state is State.ESTABLISHED
        return joined(connection.send(command.context_id, response_to(command, 0)))
    return b""


def configure(data: bytes) -> None:
    """A configuration is read, or refused on one line that names the place."""
    try:
        config.parse(data, Path("c.yaml"))
    except ConfigError as error:
        _one_line(str(error), "c.yaml:")


def compile_rules(data: bytes) -> None:
    """Rules are compiled, or refused on one line that names the place."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rules.yaml")
        path.write_bytes(data)
        try:
            load(path)
        except RulesError as error:
            _one_line(str(error), f"{path}:")


def _one_line(message: str, begin: str) -> None:
    assert message.startswith(begin), f"names no place: {message!r}"
    line = message.removeprefix(begin).partition(":")[0]
    assert line.isdecimal(), f"names no line: {message!r}"
    assert message.isprintable(), f"is not one line: {message!r}"
    assert len(message) < 600 + len(begin), f"is long: {message!r}"


def _configurations() -> list[bytes]:
    files = [ROOT / "config" / "dicomnode.yaml", *sorted((ROOT / "tests" / "config" / "bad").glob("*.yaml"))]
    return [file.read_bytes() for file in files]


RULES = """
profile: basic
options: [retain_uids, retain_longitudinal_full_dates]
templates: {patient_id: "P-{hash:12}", patient_name: "", accession: "A{hash:8}"}
attributes:
  BodyPartExamined: remove
  "(0008,1030)": keep
  ReferringPhysicianName: dummy
  FrameOfReferenceUID: uid
  StudyDescription: empty
withhold: [SecondaryCaptureImageStorage, 1.2.840.10008.5.1.4.1.1.2]
accept: [EncapsulatedPDFStorage]
suspicious_pixels:
  off: [ultrasound, dose-sheet]
  accept: [SecondaryCaptureImageStorage]
  rules:
    ours: {reason: it was here, when: [{ImageType: {matches: ['^X'], not_in: [Y]}, Modality: {present: false}}]}
"""

LISTENER = Target("listener", conversations, listen, mutated)
CONFIG = Target("config", _configurations, configure, edited)
RULES_FILE = Target(
    "rules", lambda: [(ROOT / "rules" / "basic.yaml").read_bytes(), RULES.encode()], compile_rules, edited
)
