"""Memory that holds identified data is never dumped."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import ctypes, resource
from dicomnode.cli import main
main(["--version"])
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3))
"""


def test_no_command_leaves_a_core_file() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "(0, 0) 0"
