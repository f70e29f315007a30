"""Thousands of studies fetched from a simulated source: how fast, and whether all three sides agree to the instance.

The source makes its instances as they are asked for. It answers C-FIND at all levels and C-MOVE; one of a hundred
studies it sends without its last instance at the first C-MOVE, as an overloaded archive does.
"""

from __future__ import annotations

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import images  # noqa: E402
import synthetic  # noqa: E402
from peers.node import Node  # noqa: E402
from peers.process import HOST, free_port  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pynetdicom import AE, build_context, evt  # noqa: E402
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # noqa: E402
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

PER_STUDY = 3
LOSES = 100  # each so-manyth study lacks an instance at first
SYNTAX = "1.2.840.10008.1.2.1"


class Source:
    """A simulated archive of `count` studies with PER_STUDY instances each."""

    def __init__(self, count: int, port: int, node_port: int) -> None:
        self.count, self.node_port = count, node_port
        self.studies = {synthetic.uid(number): number for number in range(1, count + 1)}
        self._asked: set[str] = set()
        self._like = images.parse(images.written(synthetic.small(1, 1, 1)))
        entity = AE("STAGING")
        for uid in (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove):
            entity.add_supported_context(uid)
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move)]
        self._server = entity.start_server((HOST, port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()

    def _numbers(self, keys: Dataset) -> list[int]:
        wanted = keys.get("SOPInstanceUID") or ""
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        study = self.studies[str(keys.StudyInstanceUID)]
        return [n for n in range(1, PER_STUDY + 1) if not any(wanted) or synthetic.uid(study, 1, n) in wanted]

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        keys = event.identifier
        study = self.studies.get(str(keys.StudyInstanceUID))
        if study is None:
            return
        found = Dataset()
        found.QueryRetrieveLevel, found.StudyInstanceUID = keys.QueryRetrieveLevel, keys.StudyInstanceUID
        if keys.QueryRetrieveLevel == "STUDY":
            found.NumberOfStudyRelatedInstances = str(PER_STUDY)
            yield 0xFF00, found
            return
        found.SeriesInstanceUID = synthetic.uid(study, 1)
        if keys.QueryRetrieveLevel == "SERIES":
            found.Modality = "MR"
            yield 0xFF00, found
            return
        for number in range(1, PER_STUDY + 1):
            found.SOPInstanceUID = synthetic.uid(study, 1, number)
            yield 0xFF00, found

    def _move(self, event: Any) -> Iterator[Any]:
        keys = event.identifier
        uid, numbers = str(keys.StudyInstanceUID), self._numbers(keys)
        study = self.studies[uid]
        if keys.QueryRetrieveLevel == "STUDY" and uid not in self._asked and study % LOSES == 0:
            numbers = numbers[:-1]
        self._asked.add(uid)
        yield HOST, self.node_port, {"contexts": [build_context(MRImageStorage, SYNTAX)]}
        yield len(numbers)
        for number in numbers:
            yield 0xFF00, self._instance(study, number)

    def _instance(self, study: int, number: int) -> Dataset:
        made = self._like
        made.StudyInstanceUID, made.SeriesInstanceUID = synthetic.uid(study), synthetic.uid(study, 1)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = synthetic.uid(study, 1, number)
        made.FrameOfReferenceUID, made.PatientID = synthetic.uid(study, 99), f"P-{study}"
        made.InstanceNumber = number
        return made


class Research:
    """A research PACS that notes what it takes."""

    def __init__(self) -> None:
        self.port = free_port()
        self.held: dict[str, str] = {}
        entity = AE("RESEARCH")
        entity.maximum_associations = 50
        for syntax in (SYNTAX, "1.2.840.10008.1.2"):
            entity.add_supported_context(MRImageStorage, syntax)
        self._server = entity.start_server(
            (HOST, self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        data_set = event.dataset
        self.held[str(data_set.SOPInstanceUID)] = str(data_set.StudyInstanceUID)
        return 0x0000


def work(count: int, moves: int, folder: Path) -> dict[str, object]:
    """Fetch them all; what was measured. Raises AssertionError when the sides do not agree."""
    port, research = free_port(), Research()
    node = Node(
        folder,
        {"staging": ("STAGING", port), "research": ("RESEARCH", research.port)},
        settings={"peers": {"staging": {"max_moves": moves}}, "log": {"level": "warning"}},
    )
    source = Source(count, port, node.port)
    listed = folder / "list.txt"
    listed.write_text("".join(f"{uid}\n" for uid in source.studies))
    begin = time.monotonic()
    try:
        line = [sys.executable, "-m", "dicomnode", "retrieve", "--list", str(listed), "--config", str(node.config)]
        result = subprocess.run(line, capture_output=True, text=True, check=False)
    finally:
        source.stop()
        research.stop()
    seconds = time.monotonic() - begin
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    with sqlite3.connect(node.storage / "journal.db") as journal:
        rows = dict(journal.execute("SELECT sop_uid, study_uid FROM instance"))
        states = dict(journal.execute("SELECT state, count(*) FROM study GROUP BY state"))
        sent = journal.execute("SELECT count(*) FROM sent WHERE ok").fetchone()[0]
    assert rows == research.held, f"the journal has {len(rows)} instances, research {len(research.held)}"
    assert len(rows) == sent == count * PER_STUDY, f"{len(rows)} in the journal, {sent} sent"
    assert states == {"confirmed": count}, states
    with sqlite3.connect(node.storage / "identity.db") as book:
        jobs = dict(book.execute("SELECT state, count(*) FROM job GROUP BY state"))
    assert jobs == {"arrived": count}, jobs
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "studies": count,
        "instances": len(rows),
        "seconds": round(seconds, 1),
        "studies per second": round(count / seconds, 1),
        "peak MB of the node": round(peak),
    }


def main() -> None:
    """Run it and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--moves", type=int, default=4, help="studies fetched at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(work(options.studies, options.moves, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
