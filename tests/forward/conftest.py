"""The forwarder's tests use the services and bytes of the tests of dimse and upper_layer."""

from __future__ import annotations

import sys
from pathlib import Path

for room in ("dimse", "upper_layer"):
    sys.path.append(str(Path(__file__).parents[1] / room))
