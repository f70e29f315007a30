"""Peers that stall, lie, flood and leave, against a running node: C-ECHO works all the while, nothing stays behind."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event

import images
import pytest
import synthetic
from hostile import CT, ENHANCED_CT, EXPLICIT, Caller, hello, message, stored, usage
from peers import dcmtk
from peers.node import Node
from peers.process import until
from pydicom.dataset import Dataset

from dicomnode.upper_layer import Abort, ProposedContext
from dicomnode.upper_layer.pdus import RELEASE_RQ, encode_abort

ASSOCIATIONS = int(os.environ.get("DICOMNODE_ASSOCIATIONS", "500"))
EVERY_BYTE = bool(os.environ.get("DICOMNODE_EVERY_BYTE"))
QUICK = {
    "timeouts": {"handshake": "1s", "idle": "1s", "stall": "1s", "drain": "2s"},
    "node": {"associations": 16, "associations_per_address": 16, "whole": "1MiB"},
    "queue": {"bytes": "4MiB"},
}
GENTLE = {**QUICK, "timeouts": {"handshake": "20s", "idle": "20s", "stall": "20s", "drain": "2s"}}


@pytest.fixture
def victim(node: Callable[..., Node], free_port: Callable[[], int]) -> Callable[..., Node]:
    """Starts a node with short deadlines, whose destination is away."""

    def start(settings: dict = QUICK) -> Node:
        peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())}
        return node(peers, quiet="300ms", settings=settings).start()

    return start


@contextmanager
def echoes(node: Node) -> Iterator[None]:
    """C-ECHO again and again meanwhile, each answered within 10 s; the last one counts too."""
    over, times, failures = False, [], []

    def work() -> None:
        while not over:
            begin = time.monotonic()
            result = dcmtk.echo(node.port)
            times.append(time.monotonic() - begin)
            if result.code:
                failures.append(result.output)
            time.sleep(0.3)

    with ThreadPoolExecutor(1) as beside:
        echoing = beside.submit(work)
        try:
            yield
        finally:
            over = True
            echoing.result()
    assert not failures, failures[0]
    assert max(times) < 10


def quiet(node: Node) -> None:
    """Wait until no association is open and every connection is closed."""
    opened, closed = node.events("association-opened"), node.events("association-closed")
    until(lambda: len(node.events("association-opened")) == len(node.events("association-closed")), 15, "ends")
    assert len(opened) >= len(closed) - 1


def small(number: int, **changes: object):
    made = synthetic.ct(number=number, rows=16, columns=16)
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def test_stalls_at_the_bytes_of_an_association(victim):
    """All at once: as many peers as may call, each of which stops at another byte and stays."""
    node = victim()
    conversation = hello() + stored(1, small(1)) + RELEASE_RQ
    places = range(len(conversation)) if EVERY_BYTE else sorted({0, 1, 5, 6, 7, 10, 74, 90, 200, len(hello()) - 1})
    if not EVERY_BYTE:
        step = len(conversation) // 20
        places = [*places, *range(len(hello()), len(conversation), step), len(conversation) - 1]
    with echoes(node):
        for first in range(0, len(places), 12):
            with ExitStack() as stack:
                callers = [
                    stack.enter_context(Caller(node.port, conversation[:at])) for at in places[first : first + 12]
                ]
                begin = time.monotonic()
                for caller in callers:
                    caller.ended()
                assert time.monotonic() - begin < 10
    quiet(node)
    assert {each["how"] for each in node.events("association-closed")} <= {"timeout", "released"}
    (study,) = node.studies()
    assert (study["stored"], study["withheld"]) == (1, 0), "only the whole instance was taken, once"


def test_trickling(victim):
    node = victim()
    with echoes(node), Caller(node.port) as slow, Caller(node.port).associate() as slower:
        begin = time.monotonic()
        data = stored(1, small(1))
        for byte in range(400):
            slow.say(hello()[byte : byte + 1])
            slower.say(data[byte : byte + 1])
            time.sleep(0.01)
        slow.ended()
        slower.ended()
        assert time.monotonic() - begin < 12
    quiet(node)
    assert node.studies() == []


LIES = {
    "4 GiB request": [b"\1\0\xff\xff\xff\xff" + bytes(2000)],
    "4 GiB data": [hello(), b"\4\0\xff\xff\xff\xff" + bytes(2000)],
    "PDV longer than its PDU": [hello(), b"\4\0\0\0\0\x0a" + b"\0\0\xff\xff\1\3" + bytes(6)],
    "PDV of one byte": [hello(), b"\4\0\0\0\0\5\0\0\0\1\1"],
    "empty PDU": [hello(), b"\4\0\0\0\0\0" * 50 + b"\x09\0\0\0\0\0"],
    "unknown PDU": [b"\x42\0\0\0\0\4\0\0\0\0"],
    "data before the association": [stored(1, small(1))],
    "second request": [hello(), hello()],
    "accept from the requestor": [hello(), b"\2" + hello()[1:]],
    "release answered unasked": [hello(), b"\6\0\0\0\0\4\0\0\0\0"],
    "data set before its command": [hello(), b"\4\0\0\0\0\x0a\0\0\0\6\1\2abcd"],
    "unknown context": [hello(), message(1, b"x", "1.2", context=99)],
    "command of zeros": [hello(), b"\4\0\0\0\1\6" + struct.pack(">IBB", 0x102, 1, 3) + bytes(0x100)],
    "endless command": [hello(), (b"\4\0\0\0\x40\6" + struct.pack(">IBB", 0x4002, 1, 1) + bytes(0x4000)) * 8],
    "lying item lengths": [hello()[:74] + b"\x10\0\xff\xff" + hello()[78:]],
}


def test_lies_and_wrong_order_end_that_association_only(victim):
    node = victim()
    before = usage(node.pid)["memory"]
    with echoes(node), ExitStack() as stack:
        liars = {name: stack.enter_context(Caller(node.port, *said)) for name, said in LIES.items()}
        with Caller(node.port).associate() as honest:
            honest.say(stored(1, small(1)))
            assert honest.status() == 0
        begin = time.monotonic()
        for name, liar in liars.items():
            liar.ended()
            assert time.monotonic() - begin < 10, name
    quiet(node)
    assert usage(node.pid)["memory"] - before < 20_000
    assert node.quarantine() == []
    assert [study["stored"] for study in node.studies()] == [1]


def test_what_breaks_off_in_its_middle_leaves_nothing(victim):
    """Held whole and streamed; then the same instances are taken."""
    node = victim()
    files = set(node.written_bytes())
    messages = [stored(1, synthetic.ct(number=size, rows=size, columns=size)) for size in (16, 1200)]
    with echoes(node):
        for data in messages:
            for end in ("abort", "reset", "close", "stall"):
                _break_off(node, data[: int(len(data) * 0.9)], end)
    quiet(node)
    assert node.studies() == node.quarantine() == []
    kept = b"".join(data for name, data in node.written_bytes().items() if name not in files)
    for needle in synthetic.PERSON.needles():
        assert needle.encode() not in kept
    with Caller(node.port).associate() as caller:
        caller.say(*messages)
        assert [caller.status(), caller.status()] == [0, 0]
    until(lambda: [study["stored"] for study in node.studies()] == [2], 10, "the whole instances")


def _break_off(node: Node, begun: bytes, end: str) -> None:
    with Caller(node.port).associate() as caller:
        caller.say(begun)
        time.sleep(0.2)
        if end == "abort":
            caller.say(encode_abort(Abort(0, 0)))
        elif end == "reset":
            caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif end == "stall":
            caller.ended()


JUNK = (
    b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"\x16\3\1\2\0\1\0\1\xfc\3\3" + bytes(508),
    b"",
)


def test_three_hundred_junk_connections(victim):
    node = victim()
    before = usage(node.pid)
    with echoes(node), ExitStack() as stack:
        for number in range(300):
            stack.enter_context(Caller(node.port, JUNK[number % len(JUNK)]))
        with Caller(node.port).associate() as honest:
            honest.say(stored(1, small(1)))
            assert honest.status() == 0
    until(lambda: usage(node.pid)["descriptors"] <= before["descriptors"] + 3, 10, "closed connections")
    assert usage(node.pid)["threads"] <= before["threads"] + 8
    assert node.running


def test_associations_beyond_the_limit_are_rejected_for_the_moment(victim):
    node = victim()
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(node.port)).associate() for _ in range(16)]
        with Caller(node.port, hello()) as late:
            assert late.pdu() == b"\3\0\0\0\0\4\0\2\3\2"
        callers[0].say(RELEASE_RQ)
        callers[0].pdu()
        with Caller(node.port).associate():
            pass


def test_very_many_contexts(victim):
    """Of more than 128 no ID is left: they come twice, and the first counts."""
    node = victim()
    for count in (128, 129, 400):
        contexts = [ProposedContext((2 * n + 1) % 256, f"{CT}.{n}", (EXPLICIT,)) for n in range(count)]
        contexts[0] = ProposedContext(1, CT, (EXPLICIT,))
        with Caller(node.port, hello(tuple(contexts))) as caller:
            assert caller.pdu()[0] == 2
            caller.say(stored(1, small(1)))
            assert caller.status() == 0
    assert dcmtk.echo(node.port).code == 0


def test_requests_sent_without_waiting_are_answered_in_order(victim):
    node = victim(GENTLE)
    with Caller(node.port).associate() as caller:
        caller.say(b"".join(stored(n, small(n)) for n in range(1, 31)) + RELEASE_RQ)
        assert [caller.status() for _ in range(30)] == [0] * 30
        assert caller.pdu()[0] == 6
    until(lambda: [study["stored"] for study in node.studies()] == [30], 10, "thirty instances")


LONG = "1.2." + "3" * 80


def test_what_command_and_data_set_should_not_say_is_withheld_and_acknowledged(victim):
    node = victim(GENTLE)
    good = small(1)
    data = images.encode(good, EXPLICIT)
    cases = {
        "long UID in both": stored(1, small(2, SOPInstanceUID=LONG)),
        "long UID in the command": message(2, data, LONG),
        "another instance": message(3, data, str(good.SOPInstanceUID) + "9"),
        "another class": message(4, data, str(good.SOPInstanceUID) + "8", sop_class=ENHANCED_CT, context=5),
        "class of another context": message(5, data, str(good.SOPInstanceUID) + "7", sop_class="1.2.3"),
        "no UID": message(6, data, ""),
        "letters": message(7, data, "Zwetschgenbaum"),
    }
    with Caller(node.port).associate() as caller:
        for name, said in cases.items():
            caller.say(said)
            assert caller.status() == 0, name
        caller.say(stored(8, good))
        assert caller.status() == 0
    until(lambda: len(node.quarantine()) == len(cases), 10, "withheld instances")
    reasons = {each["reason"] for each in node.quarantine()}
    assert reasons <= {"command-mismatch", "bad-uid", "missing-uid"}
    assert [study["stored"] for study in node.studies() if study["stored"]] == [1]
    for text in (node.output(), *map(str, node.written_bytes())):
        assert LONG not in text
        assert "Zwetschgenbaum" not in text


def elaborate(number: int) -> bytes:
    """A header of a few MiB in which every UID is another one: seconds of work for a node, nothing for the sender."""
    made = small(number)
    made.ReferencedImageSequence = [Dataset()]
    made.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    data = images.encode(made, EXPLICIT)
    one = b"\xfe\xff\x00\xe0\x14\0\0\0" + b"\x08\0\x55\x11UI\x0c\0" + b"1.2.3.%06d"
    items = b"".join(one % each for each in range(60_000))
    at = data.index(b"\x08\0\x40\x11SQ\0\0")
    end = at + 12 + int.from_bytes(data[at + 8 : at + 12], "little")
    data = data[:at] + b"\x08\0\x40\x11SQ\0\0" + struct.pack("<I", len(items)) + items + data[end:]
    return message(1, data, str(made.SOPInstanceUID))


def test_elaborate_instances_keep_nobody_waiting(victim):
    node = victim({**GENTLE, "node": {**QUICK["node"], "whole": "8MiB"}, "queue": {"bytes": "64MiB"}})
    with ExitStack() as stack, echoes(node):
        callers = [stack.enter_context(Caller(node.port, seconds=90)).associate() for _ in range(4)]
        for number, caller in enumerate(callers, 1):
            caller.say(elaborate(number))
        with Caller(node.port).associate() as plain:
            begin = time.monotonic()
            plain.say(stored(1, small(99)))
            assert plain.status() == 0
            assert time.monotonic() - begin < 10
        assert [caller.status() for caller in callers] == [0] * 4
    until(lambda: sum(study["stored"] for study in node.studies()) == 5, 20, "five instances")


@pytest.mark.own_process
def test_memory_is_bounded_by_the_queue(victim):
    """Sixteen peers send all but the end of 8 MiB each, which would be held whole; then half of them go on."""
    settings = {**QUICK, "node": {**QUICK["node"], "whole": "8MiB"}, "queue": {"bytes": "24MiB"}}
    settings["timeouts"] = {**QUICK["timeouts"], "stall": "15s", "idle": "60s"}
    node = victim(settings)
    one = stored(1, synthetic.ct(number=1, rows=2000, columns=2000))
    uid = synthetic.uid(1, 1, 1).encode()
    data = [one.replace(uid, uid[:-1] + str(n).encode()) for n in range(1, 9)]
    with Caller(node.port).associate() as caller:
        caller.say(data[0])
        assert caller.status() == 0
    before = usage(node.pid)["memory"]
    with ThreadPoolExecutor(16) as threads, ExitStack() as stack:
        callers = [stack.enter_context(Caller(node.port, seconds=90)).associate() for _ in range(16)]
        measured = Event()

        def send(n: int) -> None:
            callers[n].say(data[n % 8][:-1000])
            measured.wait()
            if n < 8:
                callers[n].say(data[n][-1000:])

        for n in range(16):
            threads.submit(send, n)
        time.sleep(3)
        grown = usage(node.pid)["memory"] - before
        measured.set()
        assert dcmtk.echo(node.port).code == 0 or "Limit" in dcmtk.echo(node.port).output
        assert [each.status() for each in callers[:8]] == [0] * 8
        for each in callers[8:]:
            each.socket.shutdown(2)
    assert grown < (24 + 16 + 16) * 1024, f"{grown} KiB for a queue of 24 MiB"
    until(lambda: sum(study["stored"] for study in node.studies()) == 8, 15, "eight instances")
    assert node.quarantine() == []


@pytest.mark.own_process
def test_many_associations_leave_no_trace(victim):
    """DICOMNODE_ASSOCIATIONS=10000 for the long run."""
    node = victim(GENTLE)
    seen = []
    for number in range(ASSOCIATIONS):
        with Caller(node.port).associate() as caller:
            if number % 10 == 0:
                caller.say(stored(1, small(number % 50 + 1)))
                assert caller.status() == 0
            if number % 3 == 0:
                caller.say(RELEASE_RQ)
                caller.pdu()
            elif number % 3 == 1:
                caller.say(encode_abort(Abort(0, 0)))
        if number % (ASSOCIATIONS // 10) == 0:
            seen.append(usage(node.pid))
    quiet(node)
    last = usage(node.pid)
    print(ASSOCIATIONS, "associations:", seen, last)
    half = seen[5]
    assert last["memory"] - half["memory"] < 4_000, (seen, last)
    assert last["threads"] <= half["threads"] + 4 < 40, (seen, last)
    assert last["descriptors"] <= half["descriptors"] + 2, (seen, last)


def test_stop_is_not_held_up(victim):
    """By peers that stall in every state, junk, and an answer that nobody reads."""
    node = victim({**QUICK, "timeouts": {"drain": "3s"}})
    with ExitStack() as stack:
        for said in ((), (hello()[:50],), JUNK[:1], JUNK[1:2]):
            stack.enter_context(Caller(node.port, *said))
        for part in (0, 100, 5000):
            caller = stack.enter_context(Caller(node.port)).associate()
            caller.say(stored(1, synthetic.ct(number=1, rows=64, columns=64))[:part])
        large = stack.enter_context(Caller(node.port)).associate()
        large.say(stored(1, synthetic.ct(number=2, rows=1200, columns=1200))[:2_000_000])
        begin = time.monotonic()
        assert node.terminate(30) == 0
        assert time.monotonic() - begin < 15
    assert [each["event"] for each in node.events()][-1] == "node-stopped"
