"""The oracle's dummies: valid values that say nothing."""

from __future__ import annotations

import json
from functools import cache

from oracle_facts import FACTS, STRINGS
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


@cache
def replacements() -> dict[str, list]:
    return json.loads((FACTS / "replacements.json").read_text(encoding="utf-8"))


def dummy_value(vr: str) -> object:
    if vr in ("DA", "DT", "TM", "AS", "UR", "AE", "CS", "DS", "IS"):
        return {"DA": "19000101", "DT": "19000101000000", "TM": "000000", "AS": "000Y", "UR": "urn:removed"}.get(
            vr, "REMOVED" if vr in ("AE", "CS") else "0"
        )
    if vr in STRINGS:
        return "Removed"
    if vr in ("US", "SS", "UL", "SL", "FL", "FD", "UV", "SV", "AT"):
        return 0
    return bytes({"OL": 4, "OF": 4, "OD": 8, "OV": 8}.get(vr, 2))


def dummy_item(record: dict[str, list]) -> Dataset:
    item = Dataset()
    for tag, given in record.items():
        if not given or isinstance(given[0], dict):
            item.add_new(int(tag, 16), "SQ", Sequence([dummy_item(entry) for entry in given]))
        elif given[0] in ("US", "FL"):
            item.add_new(
                int(tag, 16),
                given[0],
                [float(part) for part in given[1].split()]
                if given[0] == "FL"
                else [int(part) for part in given[1].split()],
            )
        elif given[0] == "OB":
            item.add_new(int(tag, 16), "OB", bytes.fromhex(given[1]))
        else:
            item.add_new(int(tag, 16), given[0], given[1])
    return item
