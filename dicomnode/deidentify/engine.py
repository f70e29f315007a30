"""De-identifies instances by a plan, under the keys of a project. Pure: bytes in, bytes out."""

from __future__ import annotations

from dicomnode.deidentify import syntaxes
from dicomnode.deidentify.cleaned import Cleaned, clean_whole, readable
from dicomnode.deidentify.encoded import Element
from dicomnode.deidentify.plan import Plan
from dicomnode.deidentify.pseudonyms import Pseudonyms, Table
from dicomnode.deidentify.series import Series
from dicomnode.deidentify.stream import CleanStream, Limits
from dicomnode.deidentify.subject import read_originals
from dicomnode.deidentify.treatment import Treatment
from dicomnode.keys import ProjectKeys
from dicomnode.model import Buffer, Doubt, Reason, Received


class Deidentifier:
    """The same input under the same plan and keys gives the same output, always."""

    def __init__(self, plan: Plan, keys: ProjectKeys, table: Table | None = None, *, known_only: bool = False) -> None:
        """Pseudonyms come from the `table` where it has them; with `known_only` other patients are a doubt."""
        self.plan = plan
        self.pseudonyms = Pseudonyms(keys.pseudonym, plan.templates, table, known_only=known_only)
        self._keys = keys
        self._series = Series()

    def clean(self, received: Received, data: Buffer) -> Cleaned:
        """De-identify a data set that is held whole; `data` must not change while the result is used. Raises Doubt."""
        elements: list[Element] = []
        treatment: Treatment | None = None
        source = data  # what the elements were read from
        try:
            form = syntaxes.form(received.transfer_syntax)
            cleaned = self._series.clean(received, data, form)
            if cleaned is None:
                treatment = Treatment(self.plan, self.pseudonyms, received, form.implicit)
                source = readable(data, form)
                cleaned = clean_whole(treatment, data, source, form, elements)
                self._series.learn(received, cleaned, treatment, elements, form)
            return cleaned
        except Doubt as doubt:
            doubt.originals = doubt.originals or read_originals(source, elements)
            doubt.judged = doubt.judged or (treatment.entry if treatment else None)
            raise
        except Exception as error:  # noqa: BLE001 - whatever goes wrong withholds the instance
            raise Doubt(Reason.INTERNAL, type(error).__name__, read_originals(source, elements)) from None

    def stream(self, received: Received, limits: Limits | None = None) -> CleanStream:
        """De-identify a data set chunk by chunk."""
        return CleanStream(self.plan, self.pseudonyms, self._keys, received, limits or Limits())
