"""Instances larger than memory should ever hold: through, withheld, exported and released, all of it flat."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import giant
import pytest
import synthetic
from big import BAD_TAIL, COUNT, EACH, LONG, MOST, ONE, PATIENT, Big, part10_digest
from giant import Giant
from peers.dcmtk import Storescp, echo
from peers.node import RULES, Node
from peers.process import HOST, free_port, until
from peers.scripted import Acceptor

from dicomnode.dimse.sender import Sender
from dicomnode.model import Peer
from dicomnode.upper_layer import AnsweredContext, AssociateAccept
from dicomnode.upper_layer.pdus import encode_accept

pytestmark = pytest.mark.own_process

NAME = synthetic.PERSON.name.split("^")[0].encode()
WITHHELD: dict[str, Callable[[], Giant]] = {
    "truncated": lambda: giant.native(ONE).cut(1000),
    "a bad element behind the pixels": lambda: giant.native(ONE).followed_by(BAD_TAIL),
    "a name in a comment of the last frame": lambda: giant.jpeg(ONE, last_comment=b"Patient: " + NAME),
}


@pytest.fixture
def start(tmp_path: Path, node: Callable[..., Node], storescp: Callable[..., Storescp]) -> Iterator[Callable[..., Big]]:
    """Starts a node before a storescp; at the end it must never have had more than MOST kB resident."""
    needed = max(ONE, COUNT * EACH) * 3e6 + 4e9
    free = shutil.disk_usage(tmp_path).free
    assert free > needed, f"this test needs {needed / 1e9:.0f} GB in {tmp_path}, {free / 1e9:.0f} are free"
    made: list[Big] = []

    def start(**arguments: Any) -> Big:
        research = storescp()
        settings = {"timeouts": {"answer": f"{LONG:.0f}s"}, "forward": {"first": "200ms", "most": "500ms"}}
        peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", research.port)}
        made.append(Big(node(peers, settings=settings, quiet="300ms", **arguments).start(), research))
        return made[-1]

    yield start
    for big in made:
        peak = big.peak()
        big.node.stop()
        big.research.stop()
        shutil.rmtree(big.node.folder)
        shutil.rmtree(big.research.folder)
        print(f"peak {peak / 1000:.0f} MB")
        assert peak < MOST


@pytest.fixture
def big(start: Callable[..., Big]) -> Big:
    return start()


def many() -> list[Giant]:
    return [giant.native(EACH, study=number + 1) for number in range(int(COUNT))]


@pytest.mark.parametrize("kind", [giant.native, giant.jpeg])
def test_one_goes_through(big: Big, kind: Callable[[float], Giant]) -> None:
    instance = kind(ONE)
    assert big.send(instance) == [0]
    big.arrived([instance])


def test_many_at_once_go_through_and_echo_is_answered_meanwhile(big: Big) -> None:
    instances = many()

    async def beside() -> list[int]:
        sending = asyncio.gather(*(big.store(each) for each in instances))
        echoes = [(await asyncio.to_thread(echo, big.node.port, seconds=10)).code for _ in range(5)]
        return [*await sending, *echoes]

    assert asyncio.run(beside()) == [0] * (len(instances) + 5)
    big.arrived(instances)


@pytest.mark.parametrize("form", WITHHELD)
def test_a_withheld_one_is_sealed_whole_and_stays_nowhere_in_the_clear(big: Big, tmp_path: Path, form: str) -> None:
    instance = WITHHELD[form]()
    big.marks = (instance.mark,)
    assert big.send(instance) == [0]
    assert (big.in_the_clear(), big.segments()) == ([], 0)
    waiting = big.node.quarantine()
    assert [each["length"] for each in waiting] == [len(instance)]
    target = tmp_path / "exported.dcm"
    result = big.node.command("quarantine", "export", waiting[0]["quarantine"], "--to", str(target), seconds=LONG)
    assert result.returncode == 0, result.stdout
    assert part10_digest(target) == instance.digest()
    target.unlink()
    kept = big.node.command("quarantine", "release", waiting[0]["quarantine"], seconds=LONG)
    assert (kept.returncode, big.in_the_clear(), big.segments()) == (1, [], 0), kept.stdout
    assert big.research.files() == []


def test_many_withheld_at_once(big: Big) -> None:
    instances = [each.followed_by(BAD_TAIL) for each in many()]
    big.marks = tuple(each.mark for each in instances)
    assert big.send(*instances) == [0] * len(instances)
    assert (big.in_the_clear(), big.segments()) == ([], 0)
    assert sorted(each["length"] for each in big.node.quarantine()) == sorted(map(len, instances))


def test_a_sealed_one_is_released_when_the_rules_allow_it(start: Callable[..., Big]) -> None:
    big, instance = start(rules=RULES + "withhold: [EnhancedCTImageStorage]\n"), giant.native(ONE)
    assert big.send(instance) == [0]
    (waiting,) = big.node.quarantine()
    assert big.peak() < MOST
    big.node.terminate()
    big.node.rules.write_text(RULES)
    big.node.restart()
    result = big.node.command("quarantine", "release", waiting["quarantine"], seconds=LONG)
    assert result.returncode == 0, result.stdout
    big.arrived([instance])
    assert list(big.node.storage.glob("quarantine/*/*.sealed")) == []


def test_a_sender_that_dies_in_the_middle_leaves_nothing(big: Big) -> None:
    instance = giant.native(ONE)
    big.marks = (instance.mark,)

    async def half(reset: bool) -> None:
        peer = Peer("node", "DICOMNODE", HOST, big.node.port, ())
        sender = await Sender.connect(peer, "STAGING", [(instance.sop_class, instance.syntax)], patience=PATIENT)
        pieces = islice(instance.pieces, len(instance.pieces) // 2)
        with pytest.raises(RuntimeError):  # there is no more of it
            await sender.store(instance.sop_class, instance.sop_uid, instance.syntax, pieces, len(instance))
        if reset:
            assert sender._link._raw is not None
            sender._link._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    for reset in (False, True):
        asyncio.run(half(reset))
        until(lambda: not big.segments(), LONG, "the record is dropped")
        assert (big.in_the_clear(), big.node.quarantine(), big.research.files()) == ([], [], [])
    assert big.send(instance) == [0]
    big.arrived([instance])


def test_a_receiver_that_dies_in_the_middle_gets_it_afterwards(big: Big) -> None:
    instance = giant.native(ONE)
    big.research.stop()
    contexts = tuple(AnsweredContext(number, 0, instance.syntax) for number in (1, 3))
    accept = encode_accept(AssociateAccept("RESEARCH", "DICOMNODE", contexts, 1 << 18))
    deaf = ("pdu", accept, *["pdu"] * 100, 1.0, "reset")
    with Acceptor(deaf, ("pdu", accept, *["pdu"] * 50, "close"), ("pdu", accept, "pdu", "reset")) as dying:
        big.node.settings["peers"]["research"]["port"] = dying.port
        big.node.terminate()
        big.node.write(big.node.settings)
        big.node.restart()
        assert big.send(instance) == [0]
        until(lambda: len(dying.read) >= 4, 60, "attempts")
        assert big.segments() > len(instance) - 1_000_000
    big.research = Storescp(big.research.folder, port=dying.port)
    big.arrived([instance])
