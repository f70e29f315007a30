"""Makes the bytes of the upper layer's tests known here."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "upper_layer"))
