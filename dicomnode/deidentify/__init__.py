"""De-identification by PS3.15 Annex E: pure, bytes in, bytes and what the journal must know out."""

from dicomnode.deidentify.cleaned import Cleaned
from dicomnode.deidentify.digest import data_digest, data_set_digest, received_digest
from dicomnode.deidentify.engine import Deidentifier
from dicomnode.deidentify.rules import load
from dicomnode.deidentify.stream import CleanStream, Limits

__all__ = [
    "CleanStream",
    "Cleaned",
    "Deidentifier",
    "Limits",
    "data_digest",
    "data_set_digest",
    "load",
    "received_digest",
]
