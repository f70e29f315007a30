"""What a log line and an MQTT document can hold: each field, its type and meaning; and what is made of that."""

from __future__ import annotations

from dicomnode.observe.events import EVENTS

FIELDS: dict[str, tuple[str, str]] = {
    "address": ("string", "an IP address, or a host name of the configuration"),
    "ae_title": ("string", "our AE title"),
    "amended": ("boolean", "true when instances came after the study had gone out"),
    "association": ("integer", "the number of an incoming association since the node started"),
    "associations": ("integer", "how many associations"),
    "attempt": ("integer", "the number of the attempt, from 1"),
    "attempts": ("integer", "how many attempts"),
    "bytes": ("integer", "how many bytes"),
    "called": ("string", "called AE title"),
    "calling": ("string", "calling AE title"),
    "completed": ("integer", "sub-operations of a C-MOVE that the source calls completed"),
    "count": ("integer", "how many"),
    "destination": ("string", "a peer of the configuration that gets clean studies"),
    "error": ("string", "what went wrong; words that the node does not know are withheld"),
    "evidence": ("string", "why the study counts as complete, or does not"),
    "expected": ("integer", "instances that the source says the study has"),
    "failed": ("integer", "instances refused for good, or sub-operations of a C-MOVE that failed"),
    "frames": ("array", "the places in the code that an exception passed, the innermost last"),
    "free": ("integer", "free bytes on the disk"),
    "here": ("integer", "instances of the study that are here"),
    "hint": ("string", "what to do next"),
    "how": ("string", "how an association ended"),
    "instance": ("string", "key of an instance: a keyed hash of its original UID"),
    "instances": ("integer", "how many instances"),
    "kind": ("string", "which room of the storage directory"),
    "level": ("string", "debug, info, warning, error or critical"),
    "logger": ("string", "which library logged"),
    "missing": ("integer", "instances that the source lists and that are not here"),
    "number": ("integer", "a running number"),
    "path": ("string", "a path that the configuration names"),
    "peer": ("string", "a peer of the configuration"),
    "pid": ("integer", "a process id"),
    "port": ("integer", "a TCP port"),
    "project": ("string", "a project of the configuration"),
    "quarantine": ("string", "the id of a withheld original"),
    "queue": ("integer", "how many wait"),
    "reason": ("string", "why an instance is withheld; dicomnode quarantine list explains it"),
    "received": ("integer", "messages answered on an association"),
    "remaining": ("integer", "sub-operations of a C-MOVE that remain"),
    "rules": ("string", "the digest of the rules"),
    "seconds": ("number", "a duration"),
    "segment": ("string", "a file of the outbox: project, key of the study, name"),
    "sent": ("integer", "instances that a destination has"),
    "series": ("string", "key of a series: a keyed hash of its original UID"),
    "sop_class": ("string", "SOP Class UID of the standard"),
    "source": ("string", "a peer of the configuration that studies are fetched from"),
    "stage": ("string", "a stage of the way of an instance"),
    "state": ("string", "the state of a study or of its way to a destination"),
    "status": ("string", "a DIMSE status, such as 0xA700"),
    "stored": ("integer", "clean instances of the study"),
    "studies": ("integer", "how many studies"),
    "study": ("string", "key of a study: a keyed hash of its original UID; dicomnode studies show takes it"),
    "transfer_syntax": ("string", "Transfer Syntax UID of the standard"),
    "tls_port": ("integer", "the TCP port for TLS"),
    "user": ("string", "the user of this machine who gave a command"),
    "waiting": ("integer", "how many wait"),
    "warning": ("integer", "sub-operations of a C-MOVE with a warning"),
    "what": ("string", "what happened"),
    "where": ("string", "where in the data set: tags of the standard, (unknown) for any other, never values"),
    "why": ("string", "the reason, in words that the node knows"),
    "withheld": ("integer", "withheld instances of the study"),
}
OWN_OF_MQTT = {"node-online": "the node runs", "node-offline": "the node does not run; why says how it ended"}

_PAGE = """\
# Events

Made from the program by `tools/reference.py`; a test keeps it current.

A log line has `timestamp` (UTC), `level`, `event`, and fields of the second table. Nothing else comes through: a value
of another shape is shown as `(withheld)`, and a field that is not in the table is only counted, in `unknown_fields`.
What an event means for the way of a study is also kept in the journal (`dicomnode studies show`) and can be
published ([mqtt.md](mqtt.md)).

## By name

| event | what it means |
| --- | --- |
{events}

## Fields

| field | type | what it holds |
| --- | --- | --- |
{fields}
"""


def page() -> str:
    """docs/events.md."""
    events = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in sorted(EVENTS.items()))
    fields = "\n".join(f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in sorted(FIELDS.items()))
    return _PAGE.format(events=events, fields=fields)


def schema() -> dict[str, object]:
    """The JSON Schema of a document published by MQTT."""
    fields: dict[str, object] = {
        name: {"type": kind, "description": meaning} for name, (kind, meaning) in sorted(FIELDS.items())
    }
    own = {
        "schema": {"const": 1, "description": "the version of this schema"},
        "id": {"type": "integer", "minimum": 1, "description": "of the event; one that comes again has the same"},
        "event": {"enum": sorted({*EVENTS, *OWN_OF_MQTT, "unnamed-event"}), "description": "docs/events.md explains"},
        "at": {"type": "string", "format": "date-time", "description": "when it happened, UTC"},
        "node": {"type": "string", "description": "AE title of the node"},
        "unknown_fields": {
            "type": "integer",
            "description": "fields left out, for the node does not know them",
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of dicomnode",
        "type": "object",
        "required": ["schema", "event", "node"],
        "properties": {**own, **fields},
        "additionalProperties": False,
    }
