"""The node under the system calls that its unit leaves it: everything works, the worker that decodes too."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import images
import synthetic
from peers import dcmtk
from peers.process import Program

HARDENED = Path(__file__).parents[1] / "hardened.py"


def test_a_node_works_under_the_units_system_call_filter(node, storescp, free_port, write_files) -> None:
    if shutil.which("systemd-analyze") is None:
        return  # a machine without systemd: nobody there says which system calls a group has
    research = storescp("research", options=["+x="])
    peers = {"research": ("RESEARCH", research.port), "staging": ("STAGING", free_port())}
    made = node(peers, quiet="300ms", settings={"metrics": {"port": free_port()}})
    program = [sys.executable, "-m", "dicomnode", "serve", "--config", made.config]
    made.process = Program([sys.executable, HARDENED, *program], made.log)
    made.process.wait_ready(lambda: made.events("node-listening"), 30)
    sent = [images.written(synthetic.jpeg(number=1)), images.written(synthetic.small(number=2))]
    assert dcmtk.dcmsend(made.port, write_files(sent)).statuses == [0, 0]
    made.wait_settled()
    assert len(research.files()) == 2
    assert not made.events("crashed")
    assert made.terminate() == 0
