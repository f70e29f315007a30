"""De-identifies files again and again for `deidentify.py`, which starts it once for each program in its environment.

Arguments: the program's name, the rules file. Each line on standard input is a JSON object with `mode` and `folder`;
the answer is the CPU time per instance in milliseconds, or with the mode "output" the last output in base64.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any


class Ours:
    """dicomnode's engine. A data set is its encoded bytes, before and after."""

    def __init__(self, rules: Path) -> None:
        from dicomnode.deidentify import Deidentifier, load
        from dicomnode.folders.part10 import read_meta
        from dicomnode.keys import ProjectKeys
        from dicomnode.model import Origin, Received

        self._read_meta, self._received = read_meta, Received
        self._origin = Origin("default", "staging", "STAGING", "DICOMNODE", "127.0.0.1", 1)
        self._engine = Deidentifier(load(rules), ProjectKeys.derive(bytes(32)))

    def file(self, source: Path, target: Path) -> None:
        with source.open("rb") as opened, target.open("wb", buffering=0) as file:
            content = memoryview(mmap(opened.fileno(), 0, access=ACCESS_READ))
            for part in self.clean(self.parse(content)):
                file.write(part)

    def parse(self, content: bytes | memoryview) -> Any:
        meta = self._read_meta(content)
        return self._received(self._origin, meta.sop_class, meta.sop_uid, meta.transfer_syntax), content[
            meta.data_set :
        ]

    def clean(self, given: Any) -> Any:
        cleaned = self._engine.clean(*given)
        pixels = [cleaned.pixels] if cleaned.pixels is not None else []
        return [*cleaned.head, *pixels, *cleaned.tail]

    def memory(self, content: bytes) -> bytes:
        return b"".join(self.clean(self.parse(content)))


class Pydicom:
    """What the others have in common: a data set is a pydicom Dataset."""

    def file(self, source: Path, target: Path) -> None:
        data_set = self.read(source)
        self.clean(data_set).save_as(target)

    def read(self, source: Any) -> Any:
        import pydicom

        return pydicom.dcmread(source)

    def parse(self, content: bytes) -> Any:
        return self.read(BytesIO(content))

    def clean(self, given: Any) -> Any:
        raise NotImplementedError

    def memory(self, content: bytes) -> bytes:
        out = BytesIO()
        self.clean(self.parse(content)).save_as(out)
        return out.getvalue()


class DicomAnonymizer(Pydicom):
    """dicom-anonymizer with its default rules."""

    def __init__(self, rules: Path) -> None:
        from dicomanonymizer.simpledicomanonymizer import anonymize_dataset

        self._anonymize = anonymize_dataset

    def clean(self, given: Any) -> Any:
        self._anonymize(given, delete_private_tags=True)
        return given


class Deid(Pydicom):
    """deid with its default recipe, private attributes removed."""

    def __init__(self, rules: Path) -> None:
        from deid.config import DeidRecipe
        from deid.dicom import replace_identifiers

        self._replace, self._recipe = replace_identifiers, DeidRecipe()

    def clean(self, given: Any) -> Any:
        return self._replace([given], deid=self._recipe, save=False, remove_private=True)[0]


class Dicognito(Pydicom):
    """dicognito with its defaults."""

    def __init__(self, rules: Path) -> None:
        from dicognito.anonymizer import Anonymizer

        self._anonymizer = Anonymizer(seed="1")

    def clean(self, given: Any) -> Any:
        self._anonymizer.anonymize(given)
        return given


PROGRAMS = {"dicomnode": Ours, "dicom-anonymizer": DicomAnonymizer, "deid": Deid, "dicognito": Dicognito}


def spent(work: Callable[[Any], object], given: list[Any]) -> float:
    """CPU milliseconds of this process for each of the given."""
    before = time.process_time()
    for each in given:
        work(each)
    return (time.process_time() - before) * 1000 / len(given)


def measure(program: Any, mode: str, folder: Path) -> float | str:
    """One round over the files of a folder."""
    files = sorted(folder.iterdir())
    contents = [file.read_bytes() for file in files]
    if mode == "output":
        return base64.b64encode(program.memory(contents[0])).decode()
    if mode == "memory":
        return spent(program.memory, contents)
    if mode == "call":
        return spent(program.clean, [program.parse(content) for content in contents])
    with tempfile.TemporaryDirectory() as out:
        return spent(lambda file: program.file(file, Path(out, file.name)), files)


def main(name: str, rules: str) -> None:
    """Answer until standard input ends."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    answers, sys.stdout = sys.stdout, sys.stderr
    program = PROGRAMS[name](Path(rules))
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(measure(program, asked["mode"], Path(asked["folder"]))), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
