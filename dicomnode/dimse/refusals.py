"""What an A-ASSOCIATE-RJ means to people (PS3.8 Table 9-21)."""

from __future__ import annotations

from dicomnode.errors import PeerRejected
from dicomnode.model import Peer

_REASONS = {
    (1, 1): ("gives no reason", "ask its administrator whether it lets this host in"),
    (1, 2): ("does not know the application context", "check that it is a DICOM node"),
    (1, 3): ("does not know the calling AE title {calling}", "have that AE title entered there"),
    (1, 7): ("says that {called} is not its AE title", "correct ae_title of this peer"),
    (2, 1): ("gives no reason", "look into its log"),
    (2, 2): ("does not speak this protocol version", "check that it is a DICOM node"),
    (3, 1): ("is congested", "it is tried again later"),
    (3, 2): ("has too many associations open", "it is tried again later, or allow fewer associations at once"),
}


def rejected(peer: Peer, calling: str, result: int, source: int, reason: int) -> PeerRejected:
    """The error to raise when `peer` refused an association from `calling`."""
    said, hint = _REASONS.get((source, reason), ("gives no known reason", "look into its log"))
    what = said.format(calling=calling, called=peer.ae_title)
    return PeerRejected(
        f"{peer.name} refused the association (result {result}, source {source}, reason {reason}): it {what}",
        result,
        source,
        reason,
        hint,
    )
