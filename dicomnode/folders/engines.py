"""The engine for a file: one for all, or where variables have values of their own, one for each set of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from dicomnode.deidentify import Cleaned, Deidentifier
from dicomnode.deidentify.plan import Plan
from dicomnode.errors import RulesError
from dicomnode.folders.entities import Ids
from dicomnode.folders.part10 import FileMeta
from dicomnode.keys import ProjectKeys
from dicomnode.model import Buffer, Doubt, Origin, Reason, Received
from dicomnode.recipes import conversion

REMEMBERED = 64
"""So many sets of values are remembered with their engines."""

Variables = Mapping[str, str]


class Engines:
    """De-identifies with the rules compiled for the file's variables."""

    def __init__(
        self, plan: Callable[[Variables | None], Plan], keys: ProjectKeys, project: str, ids: Ids | None
    ) -> None:
        self._plan = plan
        self._keys = keys
        self._ids = ids
        self._origin = Origin(project or "local", "local", "", "", "", 0)
        self._known: dict[tuple[tuple[str, str], ...], Deidentifier] = {}
        first = plan(None)
        self._known[()] = Deidentifier(first, keys)
        self._asked = frozenset(said.rpartition(": ")[2] for said in first.missing)

    def clean(self, content: Buffer, meta: FileMeta) -> tuple[Cleaned, tuple[str, ...]]:
        """De-identify a file; which attributes were removed for want of a value. Raises Doubt."""
        try:
            engine = self._engine(content)
            return self._cleaned(engine, meta, memoryview(content)[meta.data_set :]), engine.plan.missing
        except (Doubt, KeyboardInterrupt):
            raise
        except RulesError as error:
            raise Doubt(Reason.NOT_ACCEPTED, conversion.said(error)) from None
        except Exception as error:  # noqa: BLE001 - whatever goes wrong withholds the instance
            raise Doubt(Reason.INTERNAL, type(error).__name__) from None

    def _cleaned(self, engine: Deidentifier, meta: FileMeta, data: Buffer) -> Cleaned:
        """De-identify a data set; where the file meta names another instance, the data set is right. Raises Doubt."""
        received = Received(self._origin, meta.sop_class, meta.sop_uid, meta.transfer_syntax)
        try:
            return engine.clean(received, data)
        except Doubt as doubt:
            if doubt.reason is not Reason.COMMAND_MISMATCH or doubt.originals is None:
                raise
            named = replace(received, sop_uid=doubt.originals.sop_uid)
        return engine.clean(named, data)

    def _engine(self, content: Buffer) -> Deidentifier:
        values = self._ids.of(content) if self._ids and self._asked else {}
        key = tuple(sorted((name, value) for name, value in values.items() if name in self._asked))
        engine = self._known.get(key)
        if engine is None:
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            engine = self._known[key] = Deidentifier(self._plan(dict(key)), self._keys)
        return engine
