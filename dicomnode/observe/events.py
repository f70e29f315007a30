"""Every event that the node logs, by name: what it means to the operator."""

from __future__ import annotations

from dicomnode.model import DeliveryState, StudyState

EVENTS: dict[str, str] = {
    "node-listening": "the node takes associations",
    "node-stopping": "the node finishes what is under way",
    "node-stopped": "the node has closed everything",
    "recovered": "instances acknowledged just before a crash were entered in the journal",
    "storage-damaged": "files of the outbox or the quarantine are shorter than the journal says or do not authenticate",
    "key-created": "a new project key was made; back it up, without it no pseudonym can be made again",
    "project-gone": "a study waits for a project that the configuration no longer has",
    "association-opened": "a peer opened an association",
    "association-closed": "an association ended",
    "association-rejected": "an association was rejected",
    "handshake-timeout": "a peer connected and did not open an association in time",
    "connection-dropped": "a connection was closed at once, for there were too many",
    "associations-left": "open associations did not finish before the drain deadline and were aborted",
    "admit-failed": "an association could not be judged and was rejected",
    "listening": "the server took its port",
    "protocol-error": "a peer broke PS3.7 or PS3.8; the association was aborted",
    "instance-stored": "a clean instance is on stable storage and was acknowledged",
    "instance-withheld": "an instance was sealed for a person to look at, and acknowledged",
    "instance-duplicate": "an instance came again and was acknowledged; one copy is kept",
    "instance-refused-storage": "an instance could not be kept safely and was refused with 0xA700",
    "instance-refused": "a destination refused an instance for good",
    "store-failed": "storing an instance failed unexpectedly and was refused with 0xA700",
    "study-found": "the source knows the study",
    "study-unknown": "the source does not know the study",
    "study-arrived": "a retrieval has ended; expected and here are instances",
    "gap-fetched": "instances that the source lists and that did not come are asked for again",
    "move-ended": "the source ended a C-MOVE; its status is no evidence",
    "retrieve-failed": "a study could not be retrieved",
    "delivery-postponed": "a destination cannot be reached or refuses for the moment; it is tried again",
    "destination-up": "a destination answers again",
    "control-refused": "a command over the control socket could not be read",
    "python-warning": "a library warned; its text is left out, for it may quote values",
    "foreign-log": "a library logged; its text is left out, for it may quote values",
    "crashed": "an unexpected error ended a part of the node; its text is left out, for it may quote values",
    **{f"study-{state}": f"the study is {state}" for state in StudyState},
    **{f"delivery-{state}": f"the study's way to a destination is {state}" for state in DeliveryState},
}
