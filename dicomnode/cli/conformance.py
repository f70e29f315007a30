"""The DICOM conformance statement (PS3.2), written from the code that it is about."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import pydicom
import pynetdicom
from pydicom import charset
from pydicom.uid import UID

from dicomnode import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION
from dicomnode.cli import explain, markdown
from dicomnode.deidentify.exceptions import FIXED_DATES
from dicomnode.deidentify.plan import CID_7050, CLAIMS, Plan
from dicomnode.deidentify.standard import dictionary, tables
from dicomnode.deidentify.syntaxes import FORMS
from dicomnode.dimse.service import Limits
from dicomnode.dimse.status import describe, outcome
from dicomnode.dimse.syntaxes import FIND, MOVE, TRANSFER_SYNTAXES, VERIFICATION

STATUSES = (
    *(0x0000, 0x0001, 0x0107, 0x0111, 0x0116, 0xB000, 0xB006, 0xB007),
    *(0x0110, 0x0213, 0xA700, 0x0117, 0x0122, 0x0124, 0xA900, 0xC000),
)
ANSWERS = (
    ("0x0000", "C-STORE, C-ECHO", "the de-identified instance, or the sealed original of a withheld one, is on disk"),
    ("0xA700", "C-STORE", "it cannot be kept safely now: full or failing disk, shutdown; send it again later"),
    ("0x0122", "C-STORE", "the presentation context is not one of a storage SOP class"),
    ("0x0211", "any other", "the operation is not offered; the association stays open"),
)


def written(plan: Plan) -> str:
    """The whole statement, for a node with these rules."""
    parts = [_head(plan), _network(), _classes(plan), _syntaxes(), _statuses(), _security(plan)]
    return "\n\n".join([*parts, markdown.rules(explain.document(plan), level=2, stable=True)])


def _name(uid: str) -> str:
    return UID(uid).name


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 118, subsequent_indent=indent)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(markdown.table(tuple(head), [tuple(row) for row in rows]))


def _head(plan: Plan) -> str:
    versions = f"pydicom {pydicom.__version__} and pynetdicom {pynetdicom.__version__}"
    return f"""# DICOM conformance statement

Printed by `dicomnode rules conformance {plan.name}.yaml` with {versions}, whose dictionaries
it uses; `make docs` prints it anew. A site with rules of its own prints its own statement in the same way.

dicomnode receives composite instances from a staging PACS, or retrieves them from it; de-identifies each one before it
acknowledges it; and sends complete studies to research PACS. It keeps no archive and answers no queries.

{
        _table(
            ("", ""),
            (
                ("Implementation Class UID", IMPLEMENTATION_CLASS),
                ("Implementation Version Name", IMPLEMENTATION_VERSION),
            ),
        )
    }"""


def _network() -> str:
    limits = Limits()
    services = (
        ("Verification", VERIFICATION, "SCU, SCP"),
        ("Storage", "the table below", "SCU, SCP"),
        (_name(FIND), FIND, "SCU, at STUDY, SERIES and IMAGE level"),
        (_name(MOVE), MOVE, "SCU, with the node itself as destination"),
    )
    return f"""## Network services

One AE, under one AE title for each project; the called AE title chooses the project. The calling AE title and address
must be those of a configured peer, otherwise the association is rejected (result 1, source 1, reason 3, 7 or 1).

{_table(("service", "SOP class", "role"), services)}

- At most {limits.associations} associations at once, {limits.per_address} from one address; more are rejected
  (transient). PDUs of up to {limits.pdu >> 10} KiB are taken and announced.
- No asynchronous operations, no SOP class extended negotiation, no role selection; user identity is ignored.
- Of the transfer syntaxes of a presentation context the requestor's first that is known is accepted. A private or
  unknown storage SOP class is accepted too, and its instances are withheld: sealed, reported, not sent on.
- Deadlines of the SCP: {limits.handshake:.0f} s for the A-ASSOCIATE-RQ, {limits.idle:.0f} s between messages,
  {limits.stall:.0f} s without progress within one. All of them are configuration.
- The SCU proposes one presentation context for each SOP class and transfer syntax, in the transfer syntax in which the
  instance was received; Explicit VR Big Endian and Deflated Explicit VR are converted to Explicit VR Little Endian."""


def _classes(plan: Plan) -> str:
    rows = [
        (name, uid, "withheld" if plan.refuses(uid) else "de-identified")
        for uid, name in sorted(dictionary.storage_classes().items(), key=lambda entry: entry[1])
    ]
    return f"## Storage SOP classes\n\n{_table(('SOP class', 'UID', 'its instances'), rows)}"


def _syntaxes() -> str:
    rows = [
        (_name(uid), uid, "de-identified" if uid in FORMS else "withheld")
        for uid in sorted(TRANSFER_SYNTAXES | FORMS.keys(), key=lambda uid: [int(part) for part in uid.split(".")])
    ]
    sets = ", ".join(sorted(term for term in charset.python_encoding if term))
    return f"""## Transfer syntaxes

{_table(("transfer syntax", "UID", "its instances"), rows)}

Pixel data passes through as it came, bit by bit. The segments and boxes of compressed frames are searched for what was
taken out of the instance, and comments and application segments must be those that encoders write of themselves.
Entropy-coded data is only searched for runs of text of 6 characters and more in single-byte encodings, not in UTF-16;
native pixel data is not searched. Explicit VR Big Endian with more than 16 bits allocated in OW is withheld: by PS3.5
the bytes of each 16 bit word are swapped, in the files that there are those of each pixel.

## Character sets

{_wrapped(sets)}

These, and the default repertoire where Specific Character Set is absent. Kept text is not converted; a
set that is misspelt, as in ISO-IR 192, is corrected. An instance whose identifiers do not decode in the set that it
names is withheld."""


def _statuses() -> str:
    rows = [(f"0x{status:04X}", describe(status).rpartition(" (")[0], str(outcome(status))) for status in STATUSES]
    return f"""## Status codes

As an SCP the node answers

{_table(("status", "to", "meaning"), ANSWERS)}

As an SCU it takes the answers to its C-STORE requests so (sent and verify: done; retry: sent again, a bounded number
of times; failed: permanent for that instance). Other failures are permanent.

{_table(("status", "meaning", "outcome"), rows)}"""


def _security(plan: Plan) -> str:
    options = [(name, _option_code(column), "yes", _chosen(plan, name)) for name, column in tables.OPTIONS.items()]
    both = [
        row.keyword
        for row in tables.rows().values()
        if row.options.get("device") == "K"
        and row.options.get("modified") == "C"
        and int(row.tag, 16) not in FIXED_DATES
    ]
    fixed = ", ".join(map(dictionary.keyword_of, sorted(FIXED_DATES)))
    return f"""## Security profiles

The node is a de-identifier by the Basic Application Level Confidentiality Profile ({tables.EDITION}, E.2). The options:

{_table(("option", "code", "can be honoured", f"in {plan.name}"), options)}

- Clean Pixel Data and Clean Recognizable Visual Features are not offered: text and faces in pixels stay.
- De-identification is not undone by Encrypted Attributes: the site's identity book leads back.
- {len(both)} rows of the table ask for K under Retain Device Identity and for C under Retain Longitudinal Temporal
  Information with Modified Dates. Where both are chosen, C is done:
  {_wrapped(", ".join(both), "  ")}.
- Ages above 89 years become 090Y under Retain Patient Characteristics.
- Safe private attributes are those of Table E.3.10-1, at every depth; (0008,0300) is removed, not believed. Their UIDs
  are replaced; in Implicit VR, or as UN, a value that does not fit the list's VR is removed.
- Dates that are the same for many patients are not moved with a patient's, for they would tell by how much: the
  versions of context groups and templates, and when a device was made and set up, are treated as without modified
  dates, and stay under Retain Device Identity where the table says so:
  {_wrapped(fixed, "  ")}.
- A day with which programs begin to count (19000101, 19700101 and the like) is no date, and becomes 19000101.
- Frame Origin Timestamp and Certified Timestamp are no dates that can be moved: with modified dates they go as without.
- A Type 1 or 2 attribute that the table removes stays, with a dummy or empty, so that the instance stays valid.
- Whatever raises a doubt (unreadable data, unparsable kept dates, identifying values that are still found in what is
  about to be written) withholds the instance: the original is sealed with AES-256-GCM and waits for a person.
- Secure transport where it is configured, per peer: TLS 1.2 and later with forward secrecy and authenticated ciphers,
  certificates on both sides, a peer's bound to its AE title (the BCP 195 TLS profiles of PS3.15 Annex B).
- No audit trail profile is offered: the journal is the node's own."""


def _option_code(column: str) -> str:
    names = {"private": "113111", "modified": "113107", "descriptors": "113105", "structured": "113104"}
    value = {**names, "graphics": "113103", **{name: code for name, (code, _) in CLAIMS.items()}}[column]
    return f"{value} {CID_7050[value]}"


def _chosen(plan: Plan, name: str) -> str:
    return "chosen" if name in plan.options else ""
