"""Destinations taken out and put back, while the node runs and over a restart: no study is stranded by it."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic
from peers import dcmtk
from peers.archive import Archive
from peers.dcmtk import Storescp
from peers.node import Node
from peers.process import until

WriteFiles = Callable[..., list[Path]]
SOON = {"forward": {"first": "200ms", "most": "500ms", "attempts": 2}}


class Refusing(Archive):
    """Answers its first instance; the second one it refuses, or it aborts whenever that one comes."""

    how = "refuses"

    def _store(self, event: Any) -> int:
        uid = event.request.AffectedSOPInstanceUID
        if not self.received or self.received[0].SOPInstanceUID == uid:
            return super()._store(event)
        if self.how == "aborts":
            event.assoc.abort()
        return 0xC000


def _destinations(node: Node, names: list[str]) -> None:
    settings: dict[str, Any] = copy.deepcopy(node.settings)
    settings["projects"]["default"]["destinations"] = names
    node.write(settings)


def _reload(node: Node, names: list[str]) -> None:
    before = len(node.events("configuration-loaded"))
    _destinations(node, names)
    assert node.process is not None
    node.process.signal(signal.SIGHUP)
    until(lambda: len(node.events("configuration-loaded")) > before, what="the new configuration")


def _deliveries(node: Node) -> dict[str, str]:
    (study,) = node.studies()
    return {each["destination"]: each["state"] for each in study["deliveries"]}


def _two_away(node: Callable[..., Node], free_port: Callable[[], int], write_files: WriteFiles) -> Node:
    """A node with a study for two destinations, of which none is there yet."""
    peers = {"staging": ("STAGING", free_port()), "a": ("A", free_port()), "b": ("B", free_port())}
    made = node(peers, quiet="300ms", destinations=["a", "b"], settings=SOON).start()
    dcmtk.dcmsend(made.port, write_files(synthetic.series(2)))
    until(lambda: len(made.events("destination-down")) == 2, what="both are found away")
    return made


def _both_come(node: Node, storescp: Callable[..., Storescp]) -> None:
    ports = {name: peer["port"] for name, peer in node.settings["peers"].items()}
    came = [storescp(name, ae_title=name.upper(), port=ports[name]) for name in ("a", "b")]
    node.wait_settled()
    assert [len(each.files()) for each in came] == [2, 2]
    assert _deliveries(node) == {"a": "sent", "b": "sent"}
    until(lambda: not list(node.storage.glob("outbox/*/*/*.seg")), what="the segments are deleted")


@pytest.mark.parametrize("restarted", [False, True])
def test_one_that_is_put_back_gets_what_it_lacks(
    node: Callable[..., Node],
    storescp: Callable[..., Storescp],
    free_port: Callable[[], int],
    write_files: WriteFiles,
    restarted: bool,
) -> None:
    made = _two_away(node, free_port, write_files)
    _reload(made, ["b"])
    until(lambda: made.events("delivery-withdrawn"), what="a withdrawn delivery")
    until(lambda: _deliveries(made)["a"] == "withdrawn", what="and it stays so")
    if restarted:
        made.terminate()
        _destinations(made, ["a", "b"])
        made.restart()
    else:
        _reload(made, ["a", "b"])
    _both_come(made, storescp)


def test_one_that_is_put_back_at_once_gets_what_it_lacks(
    node: Callable[..., Node], storescp: Callable[..., Storescp], free_port: Callable[[], int], write_files: WriteFiles
) -> None:
    made = _two_away(node, free_port, write_files)
    for names in (["b"], ["a", "b"]) * 4:
        _reload(made, names)
    _both_come(made, storescp)


@pytest.mark.parametrize(("how", "state"), [("refuses", "failed"), ("aborts", "held")])
@pytest.mark.parametrize("restarted", [False, True])
def test_one_that_did_not_take_all_is_taken_out_and_the_study_goes_on(
    node: Callable[..., Node],
    storescp: Callable[..., Storescp],
    free_port: Callable[[], int],
    write_files: WriteFiles,
    how: str,
    state: str,
    restarted: bool,
) -> None:
    good = storescp("a", ae_title="A")
    with Refusing(ae_title="B") as bad:
        bad.how = how
        peers = {"staging": ("STAGING", free_port()), "a": ("A", good.port), "b": ("B", bad.port)}
        made = node(peers, quiet="300ms", destinations=["a", "b"], settings=SOON).start()
        dcmtk.dcmsend(made.port, write_files(synthetic.series(2)))
        until(lambda: made.events(f"study-{state}"), 30, "a study that does not go on")
        if restarted:
            made.terminate()
            _destinations(made, ["a"])
            made.restart()
        else:
            _reload(made, ["a"])
        made.wait_settled()
        until(lambda: not list(made.storage.glob("outbox/*/*/*.seg")), what="the segments are deleted")
        assert [each["state"] for each in made.studies()] == ["confirmed"]
        assert len(good.files()) == 2


def test_one_that_is_put_back_gets_a_study_that_failed_at_another(
    node: Callable[..., Node], storescp: Callable[..., Storescp], free_port: Callable[[], int], write_files: WriteFiles
) -> None:
    port = free_port()
    with Refusing(ae_title="B") as bad:
        peers = {"staging": ("STAGING", free_port()), "a": ("A", port), "b": ("B", bad.port)}
        made = node(peers, quiet="300ms", destinations=["a", "b"], settings=SOON).start()
        dcmtk.dcmsend(made.port, write_files(synthetic.series(2)))
        until(lambda: made.events("delivery-failed") and made.events("destination-down"), what="one of each")
        _reload(made, ["b"])
        until(lambda: made.events("study-failed"), what="a study that failed")
        _reload(made, ["a", "b"])
        back = storescp("a", ae_title="A", port=port)
        until(lambda: len(back.files()) == 2, 30, "what it lacks")
        until(lambda: _deliveries(made) == {"a": "sent", "b": "failed"}, what="its delivery")
        assert [(each["state"], each["amended"]) for each in made.studies()] == [("failed", False)]
