"""Fixtures that every room's tests share: real peers, the node as a black box, real and synthetic files."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import images
import numpy  # noqa: F401 - before a command that runs in this process does without it
import pytest
import structlog
from forked import ForkedNode
from killpoint import Forge
from peers.dcmtk import Dcmqrscp, Storescp
from peers.mosquitto import Mosquitto
from peers.node import Node
from peers.orthanc import Orthanc
from peers.process import free_port as _free_port

sys.path.append(str(Path(__file__).with_name("deidentify")))  # the oracle, for the end-to-end tests too


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands that run in this process set up logging; no test inherits that of another."""
    root, hooks = logging.getLogger(), (warnings.showwarning, sys.excepthook, threading.excepthook)
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    warnings.showwarning, sys.excepthook, threading.excepthook = hooks


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that finds a TCP port that nobody listens on."""
    return _free_port


@pytest.fixture
def programs() -> Iterator[ExitStack]:
    """Whatever is entered here is stopped when the test ends, the last one first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def storescp(tmp_path: Path, programs: ExitStack) -> Callable[..., Storescp]:
    """Starts DCMTK receivers: storescp(name="research", **arguments of Storescp)."""

    def start(name: str = "research", **arguments: Any) -> Storescp:
        return programs.enter_context(Storescp(tmp_path / name, **arguments))

    return start


@pytest.fixture
def dcmqrscp(tmp_path: Path, programs: ExitStack) -> Callable[..., Dcmqrscp]:
    """Starts DCMTK archives: dcmqrscp(destinations={"DICOMNODE": port})."""

    def start(destinations: dict[str, int], name: str = "archive", **arguments: Any) -> Dcmqrscp:
        return programs.enter_context(Dcmqrscp(tmp_path / name, destinations, **arguments))

    return start


@pytest.fixture
def orthanc(tmp_path: Path, programs: ExitStack) -> Callable[..., Orthanc]:
    """Starts Orthanc servers: orthanc("staging", {"node": ("DICOMNODE", port)})."""

    def start(name: str, modalities: dict[str, tuple[str, int]] | None = None, **arguments: Any) -> Orthanc:
        return programs.enter_context(Orthanc(tmp_path / name, modalities or {}, **arguments))

    return start


@pytest.fixture
def mosquitto(tmp_path: Path, programs: ExitStack) -> Mosquitto:
    """A running MQTT broker."""
    return programs.enter_context(Mosquitto(tmp_path / "mosquitto"))


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Starts programs of the package without loading it each time; ForkedNode uses it."""
    rules = tmp_path_factory.mktemp("rules") / "rules.yaml"
    rules.write_text("profile: basic\n")
    with Forge(rules) as made:
        ForkedNode.forge = made
        yield made


@pytest.fixture
def node(request: pytest.FixtureRequest, forge: Forge, tmp_path: Path, programs: ExitStack) -> Callable[..., Node]:
    """Configures nodes: node({"staging": ("STAGING", port), "research": (...)}, **arguments of Node).start()

    They and their commands are forked from a process that has loaded everything; with the mark `own_process` each is
    a program of its own, as at its user's.
    """
    kind = Node if request.node.get_closest_marker("own_process") else ForkedNode

    def configure(peers: dict[str, tuple[str, int]], name: str = "node", **arguments: Any) -> Node:
        made = kind(tmp_path / name, peers, **arguments)
        programs.callback(made.stop)
        return made

    return configure


@pytest.fixture
def write_files(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes Part 10 bytes to files of a new folder and returns their paths."""

    def write(parts: Any, name: str = "sent") -> list[Path]:
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, data in enumerate(parts):
            paths.append(folder / f"{number:05}.dcm")
            paths[-1].write_bytes(data)
        return paths

    return write


@pytest.fixture(scope="session")
def real_files() -> tuple[Path, ...]:
    """Every real DICOM file of the development packages."""
    return images.real_files()
