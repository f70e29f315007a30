"""Write what is made from the program: pages of docs/, and JSON Schemas of MQTT documents and rules files."""

from __future__ import annotations

import json
from pathlib import Path

from dicomnode.cli import manual
from dicomnode.deidentify.schema import schema
from dicomnode.observe import fields

ROOT = Path(__file__).resolve().parents[1]
MADE = {
    ROOT / "docs" / "events.md": fields.page(),
    ROOT / "dicomnode" / "observe" / "event.schema.json": json.dumps(fields.schema(), indent=2) + "\n",
    ROOT / "docs" / "rules" / "reference.md": manual.page(),
    ROOT / "rules" / "rules.schema.json": json.dumps(schema(), indent=1) + "\n",
}

if __name__ == "__main__":
    for path, content in MADE.items():
        path.write_text(content, encoding="utf-8")
