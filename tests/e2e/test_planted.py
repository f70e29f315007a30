"""What was planted in every attribute of Table E.1-1 is found nowhere: not forwarded, stored, logged or left behind."""

from __future__ import annotations

import images
import planting
import pytest
import synthetic
from peers import dcmtk
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian


def _found(needles: list[bytes], places: dict[str, bytes]) -> list[str]:
    return [f"{needle!r} in {name}" for name, data in places.items() for needle in needles if needle in data]


def _utf16(needles: list[bytes]) -> list[bytes]:
    return [needle.decode().encode("utf-16-le") for needle in needles]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=lambda syntax: syntax.name)
def test_nothing_planted_leaves_or_stays(way, write_files, syntax):
    data_set, needles = planting.planted(1)
    assert len(needles) > 1000
    clean = images.written(data_set, syntax)
    assert all(needle in clean for needle in needles)
    data_set.SOPInstanceUID = synthetic.uid(1, 1, 2)
    data_set.PixelData = data_set.PixelData[:100]
    bad = images.written(data_set, syntax)
    chain = way(key=bytes(range(32)), settings={"storage": {"keep": "segments"}, "log": {"level": "debug"}})
    assert dcmtk.storescu(chain.port, write_files([clean, bad])).statuses == [0, 0]
    (study,) = chain.node.wait_settled()
    assert (study["stored"], study["withheld"]) == (1, 1), chain.node.quarantine()
    assert chain.node.terminate() == 0
    (arrived,) = chain.research.instances().values()
    assert planting.innermost(images.parse(arrived)).CodeValue == "T-A0100"
    assert chain.differences([clean]) == []
    everywhere = {"forwarded": arrived, "log": chain.node.output().encode(), **chain.node.written_bytes()}
    everywhere |= {str(path): path.read_bytes() for path in chain.node.temporary.rglob("*") if path.is_file()}
    assert any(name.startswith("outbox") for name in everywhere)
    assert any(name.startswith("quarantine") for name in everywhere)
    assert _found([*needles, *_utf16(needles)], everywhere) == []
    listed = chain.node.command("studies", "--json").stdout + chain.node.command("quarantine", "list").stdout
    assert _found(needles, {"listed": listed.encode()}) == []
