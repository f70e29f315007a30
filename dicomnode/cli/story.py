"""One study's story: what the journal knows of it, as a document and as a time line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from dicomnode.cli.options import SHORT, counted, when
from dicomnode.model import EXPLANATIONS, DeliveryState, Event, Reason, Study
from dicomnode.observe.events import EVENTS
from dicomnode.store.journal import Journal

MOST_MISSING = 20  # keys shown to people; --json has them all
SHOWN_AS_THEY_ARE = ("evidence", "error", "status", "reason", "where", "kind", "user")


def tell(journal: Journal, study: Study) -> dict[str, Any]:
    """Everything about a study, pseudonymous: the study, its deliveries, what is withheld, its events."""
    key = (study.project, study.study_key)
    return {
        "study": asdict(study),
        "deliveries": [asdict(delivery) for delivery in journal.deliveries(study.project, study_key=study.study_key)],
        "withheld": [
            {"quarantine": each.quarantine, "reason": str(each.reason), "where": each.where, "at": each.received_at}
            for each in journal.withheld_list(*key)
        ],
        "missing": sorted(journal.missing(*key).keys),
        "events": [_document(event) for event in journal.events(*key)],
    }


def _document(event: Event) -> dict[str, Any]:
    return {"at": event.at, "event": event.name, **event.facts}


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    study = told["study"]
    yield f"study    {study['study_key']}  project {study['project']}"
    yield f"UID      {study['study_uid'] or '-'} at research, patient {study['patient'] or '-'}"
    expected = "" if study["expected"] is None else f", {study['expected']} expected"
    amended = ", amended" if study["amended"] else ""
    yield f"state    {study['state']}{amended}: {study['stored']} stored, {study['withheld']} withheld{expected}"
    if study["evidence"]:
        yield f"evidence {study['evidence']}"
    if study["missing"]:
        yield f"missing  {counted(study['missing'], 'instance')} that the source lists"
        yield from (f"         {key}" for key in told["missing"][:MOST_MISSING])
    for delivery in told["deliveries"]:
        refused = f", {delivery['failed']} refused" if delivery["failed"] else ""
        error = f" ({delivery['error']})" if delivery["error"] else ""
        there = "there" if delivery["state"] == DeliveryState.CONFIRMED else "sent"
        count = f"{delivery['sent']} of {study['stored']} {there}"
        yield f"to       {delivery['destination']}: {delivery['state']}, {count}{refused}{error}"
        if delivery["state"] == DeliveryState.HELD:
            yield f"         next: do what is said there, then dicomnode studies retry {study['study_key'][:SHORT]}"
    yield ""
    moments = [(study["first_at"], "the first instance came"), (study["last_at"], "the last instance came, so far")]
    moments += [(event["at"], _sentence(event)) for event in _shortened(told["events"])]
    for at, sentence in sorted(moments, key=lambda moment: moment[0]):
        yield f"{when(at)}  {sentence}"
    for each in told["withheld"]:
        why = f"{each['reason']}: {EXPLANATIONS[Reason(each['reason'])]}"
        yield f"withheld {each['quarantine'][:SHORT]}  {why}" + (f", at {each['where']}" if each["where"] else "")


def _shortened(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Equal events in a row, such as a hundred refusals, become one with a count."""
    last: dict[str, Any] | None = None
    for event in events:
        same = last is not None and all(
            last.get(name) == event.get(name) for name in ("event", "destination", "status", "reason", "error")
        )
        if same and last is not None and event["event"].startswith("instance-"):
            last["times"] = last.get("times", 1) + 1
            continue
        if last is not None:
            yield last
        last = dict(event)
    if last is not None:
        yield last


def _sentence(event: Mapping[str, Any]) -> str:
    name = str(event["event"])
    if name == "study-decided":
        return f"{name}: {event.get('user') or 'a person'} decided: {event.get('kind')}"
    text = EVENTS.get(name, name)
    who = event.get("destination") or event.get("source")
    facts = [str(who)] if who else []
    for field in ("stored", "withheld", "expected", "sent", "failed", "missing", "here"):
        if event.get(field):
            facts.append(f"{event[field]} {field}")
    facts += [str(event[field]) for field in SHOWN_AS_THEY_ARE if event.get(field)]
    if event.get("times"):
        facts.append(counted(event["times"], "time"))
    return f"{name}: {text}" + (f" [{'; '.join(facts)}]" if facts else "")
