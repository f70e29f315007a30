"""Write what is made from the program: docs/events.md and the JSON Schema of the MQTT documents."""

from __future__ import annotations

import json
from pathlib import Path

from dicomnode.observe import fields

ROOT = Path(__file__).resolve().parents[1]
MADE = {
    ROOT / "docs" / "events.md": fields.page(),
    ROOT / "dicomnode" / "observe" / "event.schema.json": json.dumps(fields.schema(), indent=2) + "\n",
}

if __name__ == "__main__":
    for path, content in MADE.items():
        path.write_text(content, encoding="utf-8")
