"""Which abstract and transfer syntaxes the node takes as an SCP."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom._uid_dict import UID_dictionary

from dicomnode.upper_layer import AnsweredContext, Context, ContextResult, ProposedContext

VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # study root
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

# References to pixels on a server (JPIP), media streams and encodings that hold no data set: never taken by choice.
_NOT_TAKEN = frozenset(
    {
        "1.2.840.10008.1.2.4.94",
        "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.204",
        "1.2.840.10008.1.2.4.205",
        "1.2.840.10008.1.2.6.1",
        "1.2.840.10008.1.2.6.2",
        "1.2.840.10008.1.2.7.1",
        "1.2.840.10008.1.2.7.2",
        "1.2.840.10008.1.2.7.3",
        "1.2.840.10008.1.20",
    }
)
TRANSFER_SYNTAXES: frozenset[str] = frozenset(
    uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax" and uid not in _NOT_TAKEN
)

# Their names say "Storage", but no instance is stored through them.
_MISLEADING = frozenset({"1.2.840.10008.1.3.10", "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.2"})
NOT_STORAGE: frozenset[str] = _MISLEADING | {
    uid
    for uid, entry in UID_dictionary.items()
    if entry[1] in ("SOP Class", "Meta SOP Class", "Service Class") and entry[0] and "Storage" not in entry[0]
}


def is_storage(abstract_syntax: str) -> bool:
    """Whether C-STORE may come in under it: every class not known to be for something else, private ones too."""
    return bool(abstract_syntax) and abstract_syntax not in NOT_STORAGE


def answer(proposed: Iterable[ProposedContext]) -> tuple[AnsweredContext, ...]:
    """Our answer to each proposed presentation context (PS3.8 9.3.3.2).

    The requestor's first transfer syntax that we know; its first one where we know none: what we cannot read is
    withheld, not refused. Of contexts with one ID only the first counts.
    """
    answered: dict[int, AnsweredContext] = {}
    for context in proposed:
        if context.id not in answered:
            answered[context.id] = _answer(context)
    return tuple(answered.values())


def _answer(context: ProposedContext) -> AnsweredContext:
    syntaxes = [syntax for syntax in context.transfer_syntaxes if syntax]
    first = next((syntax for syntax in syntaxes if syntax in TRANSFER_SYNTAXES), syntaxes[0] if syntaxes else "")
    if context.id % 2 == 0:
        return AnsweredContext(context.id, ContextResult.NO_REASON, first)
    if context.abstract_syntax != VERIFICATION and not is_storage(context.abstract_syntax):
        return AnsweredContext(context.id, ContextResult.ABSTRACT_SYNTAX, first)
    if not syntaxes:
        return AnsweredContext(context.id, ContextResult.TRANSFER_SYNTAXES, IMPLICIT_LITTLE)
    return AnsweredContext(context.id, ContextResult.ACCEPTANCE, first)


def is_verification(context: Context) -> bool:
    """Whether the accepted context is for C-ECHO."""
    return context.abstract_syntax == VERIFICATION
