"""What comes late, and destinations that come and go: nothing that was acknowledged is forgotten."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import images
import synthetic
from peers import dcmtk
from peers.dcmtk import Dcmqrscp, Storescp
from peers.node import Node
from peers.process import until

WriteFiles = Callable[..., list[Path]]


def _destinations(node: Node, names: list[str]) -> None:
    settings: dict[str, Any] = copy.deepcopy(node.settings)
    settings["projects"]["default"]["destinations"] = names
    node.write(settings)


def _states(node: Node) -> list[str]:
    return [study["state"] for study in node.studies()]


def test_late_images_that_are_retrieved_go_out_too(
    dcmqrscp: Callable[..., Dcmqrscp],
    node: Callable[..., Node],
    storescp: Callable[..., Storescp],
    free_port: Callable[[], int],
    write_files: WriteFiles,
) -> None:
    research, port = storescp(), free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)})
    archive = dcmqrscp({"DICOMNODE": made.port}, port=port)
    sent = list(synthetic.series(6))
    assert dcmtk.dcmsend(archive.port, write_files(sent[:4]), called="STAGING").statuses == [0] * 4
    made.start()
    assert made.command("retrieve", "--study", synthetic.uid(1)).returncode == 0
    made.wait_settled()
    assert len(research.files()) == 4
    assert dcmtk.dcmsend(archive.port, write_files(sent[4:], "late"), called="STAGING").statuses == [0] * 2
    again = made.command("retrieve", "--study", synthetic.uid(1))
    assert again.returncode == 0, again.stdout
    made.wait_settled()
    assert len(research.files()) == 6
    assert [study["amended"] for study in made.studies()] == [True]


def test_what_comes_late_and_is_withheld_amends_nothing(
    node: Callable[..., Node], storescp: Callable[..., Storescp], free_port: Callable[[], int], write_files: WriteFiles
) -> None:
    research = storescp()
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", research.port)}, quiet="300ms").start()
    data_set = synthetic.small()
    dcmtk.dcmsend(made.port, write_files([images.written(data_set)]))
    made.wait_settled()
    data_set.SeriesDescription = "other"
    dcmtk.dcmsend(made.port, write_files([images.written(data_set)], "conflict"))
    until(lambda: len(made.events("study-confirmed")) == 2, 30, "a study that was judged again")
    (study,) = made.studies()
    assert (study["state"], study["stored"], study["withheld"], study["amended"]) == ("confirmed", 1, 1, False)


def test_a_late_instance_of_a_closed_study_survives_a_kill(
    node: Callable[..., Node], storescp: Callable[..., Storescp], free_port: Callable[[], int], write_files: WriteFiles
) -> None:
    research = storescp()
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", research.port)}, quiet="60s").start()
    sent = list(synthetic.series(2))
    dcmtk.dcmsend(made.port, write_files(sent[:1]))
    study = made.studies()[0]["study_key"]
    assert made.command("studies", "close", study).returncode == 0
    assert _states(made) == ["closed"]
    dcmtk.dcmsend(made.port, write_files(sent[1:], "late"))
    made.kill()
    made.settings["projects"]["default"]["completion"]["quiet"] = "500ms"
    made.write(made.settings)
    made.restart()
    made.wait_settled()
    assert len(research.files()) == 2


def test_a_destination_taken_away_gets_nothing_more_and_its_successor_all(
    node: Callable[..., Node], storescp: Callable[..., Storescp], free_port: Callable[[], int], write_files: WriteFiles
) -> None:
    down, other = free_port(), storescp("b", ae_title="B")
    peers = {"staging": ("STAGING", free_port()), "a": ("A", down), "b": ("B", other.port)}
    patience = {"forward": {"first": "1s", "most": "1s"}}
    made = node(peers, quiet="300ms", destinations=["a"], settings=patience).start()
    dcmtk.dcmsend(made.port, write_files(synthetic.series(2)))
    until(lambda: bool(made.events("destination-down")), what="the destination is found away")
    _destinations(made, ["b"])
    made.process.signal(signal.SIGHUP)
    made.wait_settled()
    assert len(other.files()) == 2
    gone = storescp("a", ae_title="A", port=down)
    made.terminate()
    made.restart()
    assert gone.files() == []
    assert _states(made) == ["confirmed"]


def test_a_destination_taken_away_over_a_restart_holds_no_study(
    node: Callable[..., Node], storescp: Callable[..., Storescp], free_port: Callable[[], int], write_files: WriteFiles
) -> None:
    other = storescp("b", ae_title="B")
    peers = {"staging": ("STAGING", free_port()), "a": ("A", free_port()), "b": ("B", other.port)}
    made = node(peers, quiet="300ms", destinations=["a", "b"]).start()
    dcmtk.dcmsend(made.port, write_files(synthetic.series(2)))
    until(lambda: len(other.files()) == 2 and bool(made.events("destination-down")), what="one of two has it")
    made.terminate()
    _destinations(made, ["b"])
    made.restart()
    made.wait_settled()
    until(lambda: not list(made.storage.glob("outbox/*/*/*.seg")), what="the segments are deleted")
    deliveries = {each["destination"]: each["state"] for each in made.studies()[0]["deliveries"]}
    assert deliveries == {"a": "withdrawn", "b": "sent"}
