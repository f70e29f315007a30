"""The exception tree: transient or permanent, each with a hint that names the next step.

No message of these classes may hold an identified value: they are logged and shown.
"""

from __future__ import annotations


class DicomnodeError(Exception):
    """What happened and where (`what`), and what to do next (`hint`); both fit on one line."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}; {self.hint}" if self.hint else self.what


def safe_text(error: BaseException) -> str:
    """What may be told of any error: our own say nothing identified, of others only the type is sure not to."""
    return str(error) if isinstance(error, DicomnodeError) else type(error).__name__


class TransientError(DicomnodeError):
    """It may succeed when tried again later."""


class PermanentError(DicomnodeError):
    """Trying again without a change does not help."""


class ConfigError(PermanentError):
    """The configuration cannot be used; the message names file, line and the nearest right key."""


class RulesError(PermanentError):
    """A rules file cannot be compiled to a plan; the message names file and line."""


class KeyFileError(PermanentError):
    """A project's key file is missing, damaged or readable by others."""


class NodeEnded(TransientError):
    """The node that was to carry a command out has ended meanwhile."""


class CannotListen(TransientError):
    """The node's port cannot be bound."""


class CannotKeep(TransientError):
    """Nothing can be made durable now (disk full, read-only, I/O error): answered with 0xA700."""


class StorageLocked(TransientError):
    """Another process holds the storage directory."""


class StoreDamaged(PermanentError):
    """A database of the storage directory cannot be read."""


class SealBroken(PermanentError):
    """Sealed data does not authenticate: it was changed, cut short or sealed under another key."""


class PeerUnreachable(TransientError):
    """No TCP connection, no answer in time, or the association ended before its time."""


class PeerLost(PeerUnreachable):
    """A peer that had answered ended the association in the middle, or said nothing any more."""


class PeerRejected(DicomnodeError):
    """The peer answered A-ASSOCIATE-RJ; `result` 1 is permanent, 2 transient (PS3.8 9.3.4)."""

    def __init__(self, what: str, result: int, source: int, reason: int, hint: str = "") -> None:
        super().__init__(what, hint)
        self.result = result
        self.source = source
        self.reason = reason


class ProtocolError(PermanentError):
    """The peer broke PS3.7 or PS3.8; the association is aborted."""
