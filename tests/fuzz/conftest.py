"""The fuzz tests use the bytes and services of other rooms' tests."""

from __future__ import annotations

import sys
from pathlib import Path

for room in ("deidentify", "dimse", "upper_layer"):
    sys.path.append(str(Path(__file__).parents[1] / room))
