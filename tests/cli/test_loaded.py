"""What the serving process loads: what it holds, it holds for months."""

from __future__ import annotations

import subprocess
import sys

SPARED = (
    "alembic",
    "aiomqtt",
    "prometheus_client",
    "requests",
    "rich",
    "numpy",
    "pylibjpeg",
    "PIL",
    "cryptography.x509",
)
PROGRAM = """
import gc, sys
from dicomnode.cli import dicomnode
dicomnode.get_command(None, "serve")
import dicomnode.running
print(*(name for name in sys.argv[1:] if sys.modules.get(name)), gc.get_threshold()[0])
"""


def test_a_node_loads_nothing_for_what_is_not_configured() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM, *SPARED], capture_output=True, text=True, check=True)
    assert answer.stdout == "10000\n"


def test_a_health_check_loads_no_database_and_no_network_of_dicom() -> None:
    """It is asked twice a minute: starting it is most of what it costs."""
    program = """
import sys
from dicomnode.cli import main
main(["check", "--running", "--config", "nowhere.yaml"])
print(*(name for name in ("sqlalchemy", "pynetdicom.ae", "aiomqtt", "dicomnode.deidentify") if name in sys.modules))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "\n"
    assert "nowhere.yaml: no such file" in answer.stderr
