"""Whether a destination holds what it acknowledged: C-FIND for the pseudonymous study, compared with what was sent."""

from __future__ import annotations

from collections.abc import Mapping

from dicomnode.dimse import query
from dicomnode.dimse.apart import apart
from dicomnode.errors import PermanentError
from dicomnode.model import Peer

RESENDS = 2  # how often what is not there is sent again
ASKS = 2  # how often in a row it must be missing before that: a PACS may list what it took a little later


async def lacking(destination: Peer, calling: str, study_uid: str, taken: Mapping[str, str]) -> list[str]:
    """Of `taken` (SOP Instance UID to key) the keys of those that the destination does not list.

    Raises PeerUnreachable, PeerRejected, Transient- or PermanentError.
    """
    found = await apart(query.find_instances, destination, calling, study_uid)
    if found is None:
        what = f"{destination.name} cannot list the instances of a study by C-FIND"
        raise PermanentError(what, "have it allow study root C-FIND at IMAGE level, or set confirm: status")
    listed = {each.sop_uid for each in found}
    return [key for sop_uid, key in taken.items() if sop_uid not in listed]
