"""The way of an instance: staging -> node -> research, and what the engine says must arrive."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import images
from compare import differences, expected_output
from oracle import Oracle
from peers.dcmtk import Storescp
from peers.node import Node
from pydicom.dataset import Dataset

from dicomnode import deidentify
from dicomnode.deidentify import Deidentifier
from dicomnode.keys import ProjectKeys, load_key
from dicomnode.model import Doubt, Origin, Received

ORIGIN = Origin("default", "staging", "STAGING", "DICOMNODE", "127.0.0.1", 1)

Arrived = dict[str, tuple[str, bytes]]
"""SOP Instance UID -> transfer syntax and data set bytes."""


@dataclass
class Way:
    """A running node, and the storescp that it forwards to."""

    node: Node
    research: Storescp

    @property
    def port(self) -> int:
        """Where senders call."""
        return self.node.port

    def clean(self, part10: bytes) -> tuple[str, tuple[str, bytes]]:
        """SOP Instance UID and contents that must arrive at research for this file (promise 5: the same every time)."""
        return cleaned(self.node, part10)

    def differences(self, sent: list[bytes]) -> list[str]:
        """Where what arrived differs from what the oracle says, element by element."""
        arrived = self.research.instances()
        found = []
        for part10 in sent:
            uid, expected = by_oracle(self.node, part10)
            found += differences(images.parse(arrived[uid]), expected) if uid in arrived else [f"{uid} is missing"]
        return found

    def expect_some(self, sent: list[bytes]) -> tuple[Arrived, list[str]]:
        """The same for files that may be withheld, with the reasons why some are."""
        arrived: Arrived = {}
        doubts = []
        for part10 in sent:
            try:
                uid, contents = self.clean(part10)
                arrived[uid] = contents
            except Doubt as doubt:
                doubts.append(str(doubt.reason))
        return arrived, doubts

    def expect(self, sent: list[bytes]) -> Arrived:
        """What must be at research when all these files have been sent."""
        return dict(self.clean(part10) for part10 in sent)


def _keys(node: Node) -> ProjectKeys:
    return load_key(node.key_file)


def by_oracle(node: Node, part10: bytes) -> tuple[str, Dataset]:
    """SOP Instance UID and data set that the slow oracle makes of a file."""
    plan = deidentify.load(node.rules)
    oracle = Oracle(_keys(node).pseudonym, dict(plan.templates), plan.methods.text, plan.methods.codes)
    syntax, data = images.split(part10)
    expected = expected_output(oracle, data, syntax)
    return str(images.parse(expected).SOPInstanceUID), images.parse(expected)


@lru_cache(maxsize=4)
def _engine(rules: Path, text: str, key_file: Path) -> Deidentifier:
    return Deidentifier(deidentify.load(rules), load_key(key_file))


def cleaned(node: Node, part10: bytes) -> tuple[str, tuple[str, bytes]]:
    """What the engine makes of a file under the node's rules and key."""
    engine = _engine(node.rules, node.rules.read_text(), node.key_file)
    syntax, data = images.split(part10)
    header = images.header(part10)
    received = Received(ORIGIN, str(header.SOPClassUID), str(header.SOPInstanceUID), syntax)
    result = engine.clean(received, bytearray(data))
    whole = b"".join(bytes(part) for part in (*result.head, result.pixels or b"", *result.tail))
    return result.sop_uid, (result.transfer_syntax, images.Content(whole[result.data_set_offset :]))
