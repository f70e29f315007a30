"""What a person makes of withheld originals: looked at, exported, released, discarded; each access is recorded."""

from __future__ import annotations

import getpass
import json
import re
import sqlite3
from typing import Any

import images
import pytest
import synthetic
from peers import dcmtk
from peers.node import Node
from peers.process import until

from dicomnode.keys import create_key, load_key

WITHHOLD = "profile: basic\nwithhold: [CTImageStorage]\n"
TODAY = "profile: basic\n"
SMALL_WHOLE = {"node": {"whole": "128KiB"}, "queue": {"bytes": "64MiB"}}


def _record(node: Node, part10: bytes) -> dict[str, Any]:
    """The record of this instance, waiting or ended; its row is committed behind the answer."""
    length, found = len(images.split(part10)[1]), []

    def listed() -> bool:
        every = json.loads(node.command("quarantine", "list", "--all", "--json").stdout)
        found[:] = [each for each in every if each["length"] == length]
        return bool(found)

    until(listed, what="the record of a withheld instance")
    (record,) = found
    return record


def _audits(node: Node) -> list[tuple[str, str, str]]:
    """Name, user and quarantine id of each audit row in the journal."""
    connection = sqlite3.connect(node.storage / "journal.db")
    rows = connection.execute("SELECT name, document FROM event WHERE name LIKE 'quarantine-%' ORDER BY id").fetchall()
    connection.close()
    facts = [(name, json.loads(document)) for name, document in rows]
    return [(name, told["user"], told["quarantine"]) for name, told in facts]


@pytest.fixture
def withheld(way, write_files):
    """A node with a small and a streamed CT instance in its quarantine, and a truncated one."""
    small, large = (images.written(synthetic.ct(1, 1, n, rows=r, columns=r)) for n, r in ((1, 64), (2, 512)))
    broken = synthetic.ct(1, 1, 3, rows=32, columns=32)
    broken.PixelData = broken.PixelData[:-200]
    chain = way(quiet="300ms", rules=WITHHOLD, key=bytes(range(32)), settings=SMALL_WHOLE)
    files = [small, large, images.written(broken)]
    assert dcmtk.storescu(chain.port, write_files(files)).statuses == [0, 0, 0]
    until(lambda: [each["reason"] for each in chain.node.quarantine()] == ["sop-class"] * 3, what="three withheld")
    return chain, *files


def test_shown_and_exported(withheld, tmp_path):
    chain, small, large, _ = withheld
    for number, part10 in enumerate((small, large)):
        record = _record(chain.node, part10)
        shown = chain.node.command("quarantine", "show", record["quarantine"][:10]).stdout
        assert record["explanation"] in shown
        assert re.search(r"^received at +20\d\d-\d\d-\d\d [\d:]{8}Z$", shown, re.MULTILINE)
        assert "Zwetschgenbaum" not in shown
        target = tmp_path / f"original{number}.dcm"
        result = chain.node.command("quarantine", "export", record["quarantine"], "--to", str(target))
        assert (result.returncode, "IDENTIFIED" in result.stdout) == (0, True)
        assert images.split(target.read_bytes()) == images.split(part10)
        assert images.parse(target.read_bytes()).PatientName == synthetic.PERSON.name
        assert target.stat().st_mode & 0o777 == 0o600
        again = chain.node.command("quarantine", "export", record["quarantine"], "--to", str(target))
        assert (again.returncode, "is there already" in again.stdout) == (1, True)
        assert [audit[::2] for audit in _audits(chain.node)][number:] == [("quarantine-exported", record["quarantine"])]
    assert {user.split(" as ")[-1] for _, user, _ in _audits(chain.node)} == {getpass.getuser()}
    (event, _) = chain.node.events("quarantine-exported")
    assert event["user"] == _audits(chain.node)[0][1]
    inside = chain.node.command("quarantine", "export", "x", "--to", str(chain.node.storage / "original.dcm"))
    assert (inside.returncode, "storage directory" in inside.stdout) == (2, True)
    assert not any(needle.encode() in chain.node.log.read_bytes() for needle in synthetic.PERSON.needles())


@pytest.mark.parametrize("running", [True, False], ids=["node runs", "no node"])
def test_released_under_todays_rules(withheld, running):
    chain, small, large, broken = withheld
    ids = [_record(chain.node, part10)["quarantine"] for part10 in (small, large, broken)]
    refused = chain.node.command("quarantine", "release", ids[0])
    assert (refused.returncode, refused.stdout.startswith("stays withheld: sop-class")) == (1, True)
    chain.node.terminate()
    chain.node.rules.write_text(TODAY)
    if running:
        chain.node.restart()
    results = [chain.node.command("quarantine", "release", each) for each in ids]
    assert [result.returncode for result in results] == [0, 0, 1], results
    assert "stays withheld: pixel-length at (7FE0,0010)" in results[2].stdout
    if not running:
        chain.node.restart()
    (study,) = chain.node.wait_settled()
    assert (study["stored"], study["withheld"]) == (2, 1)
    assert chain.research.data_sets() == chain.expect([small, large])
    assert [each["quarantine"] for each in chain.node.quarantine()] == ids[2:]
    assert _record(chain.node, small)["fate"] == "released"
    assert [name for name, _, _ in _audits(chain.node)] == [
        "quarantine-kept", "quarantine-released", "quarantine-released", "quarantine-kept",
    ]  # fmt: skip
    assert len(list(chain.node.storage.glob("quarantine/*/*"))) == 1
    once_more = chain.node.command("quarantine", "release", ids[0])
    assert (once_more.returncode, "no such withheld original" in once_more.stdout) == (1, True)


def test_discarded_and_sent_again(withheld, write_files):
    chain, small, _, _ = withheld
    record = _record(chain.node, small)
    assert chain.node.command("quarantine", "discard", record["quarantine"]).returncode == 2
    assert chain.node.command("quarantine", "discard", record["quarantine"], "--yes").returncode == 0
    assert _record(chain.node, small)["fate"] == "discarded"
    assert len(list(chain.node.storage.glob("quarantine/*/*"))) == 2
    assert chain.node.studies()[0]["withheld"] == 2
    assert dcmtk.storescu(chain.port, write_files([small], "again")).statuses == [0]
    for _ in range(2):  # rows are committed behind the answer
        until(lambda: _record(chain.node, small)["fate"] == "", 20, "the original waits again")
        assert len(chain.node.quarantine()) == 3
        assert chain.node.studies()[0]["withheld"] == 3
        chain.node.kill()
        chain.node.restart()
    assert len(list(chain.node.storage.glob("quarantine/*/*"))) == 3


def test_the_seal_key_changes_and_pseudonyms_do_not(withheld, write_files, tmp_path):
    chain, small, large, _ = withheld
    keys = [tmp_path / f"seal{number}.key" for number in (1, 2)]
    names = [load_key(chain.node.key_file).key_id, *(create_key(key).key_id for key in keys)]
    ids = [_record(chain.node, part10)["quarantine"] for part10 in (small, large)]
    sent = []
    for number, key in enumerate(keys, start=1):
        chain.node.terminate()
        project = chain.node.settings["projects"]["default"]
        project |= {"seal_key_file": str(key), "older_seal_key_files": [str(each) for each in keys[: number - 1]]}
        chain.node.write(chain.node.settings)
        chain.node.restart()
        sent.append(images.written(synthetic.ct(1, 1, 3 + number, rows=64 + number, columns=64)))
        assert dcmtk.storescu(chain.port, write_files(sent[-1:], f"key{number}")).statuses == [0]
        ids.append(_record(chain.node, sent[-1])["quarantine"])
    shown = [json.loads(chain.node.command("quarantine", "show", each, "--json").stdout) for each in ids]
    assert [each["sealed_under"] for each in shown] == [names[0], names[0], names[1], names[2]]
    told = chain.node.command("check").stdout
    assert f"id {names[1]}, opens 1 withheld original" in told
    assert f"id {names[2]}, opens 1 withheld original" in told
    chain.node.terminate()
    chain.node.rules.write_text(TODAY)
    chain.node.restart()
    assert [chain.node.command("quarantine", "release", each).returncode for each in ids] == [0] * 4
    chain.node.wait_settled()
    assert chain.research.data_sets() == chain.expect([small, large, *sent])
